"""Redundancy elimination against numpy's covariance and closed forms; over two processes: tests/training/test_group.py."""

import numpy as np
import pytest
import torch

from selfsv.losses.redundancy import redundancy


def test_redundancy_is_the_covariance_of_all_views_beside_its_diagonal():
    torch.manual_seed(0)
    embeddings = torch.randn(6, 3, 5) @ torch.randn(5, 5) + 7
    covariance = np.cov(embeddings.reshape(-1, 5).double().numpy(), rowvar=False)
    expected = (covariance**2).sum() - (np.diag(covariance) ** 2).sum()
    assert redundancy(embeddings).item() == pytest.approx(expected / 5, rel=1e-4)


def test_redundancy_of_a_dimension_that_is_a_copy_of_another():
    """Two dimensions of covariance 4, one of them counted each way, over three dimensions; nothing without the copy."""
    alone = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]) * 3**0.5
    assert redundancy(alone).item() == pytest.approx(0.0, abs=1e-6)
    assert redundancy(torch.cat([alone, alone[:, :1]], dim=1)).item() == pytest.approx(2 * 4**2 / 3, rel=1e-5)


def test_redundancy_of_one_utterance_or_none_is_zero_and_has_a_gradient():
    for rows in (0, 1):
        embeddings = torch.ones(rows, 4, requires_grad=True)
        redundancy(embeddings).backward()
        assert redundancy(embeddings).item() == 0.0
        assert embeddings.grad is not None and not embeddings.grad.any()
