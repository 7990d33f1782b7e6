"""What keeps prototypes and dimensions in use, against plain loops and closed forms; over two processes: tests/training/test_group.py."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from selfsv.losses.koleo import koleo
from selfsv.losses.mean_entropy import mean_entropy
from selfsv.losses.redundancy import correlation_norm
from selfsv.losses.sinkhorn import sinkhorn

ROWS, PROTOTYPES = 12, 5


@pytest.fixture
def probabilities() -> Tensor:
    return torch.softmax(3 * torch.randn(ROWS, PROTOTYPES, generator=torch.Generator().manual_seed(0)), dim=1)


def test_sinkhorn_is_alternating_division(probabilities):
    shares = probabilities.double().numpy()
    shares = shares / shares.sum()
    for _ in range(3):
        shares = shares / shares.sum(axis=0, keepdims=True) / PROTOTYPES
        shares = shares / shares.sum(axis=1, keepdims=True) / ROWS
    np.testing.assert_allclose(sinkhorn(probabilities, 3).numpy(), shares * ROWS, rtol=1e-5)
    np.testing.assert_allclose(sinkhorn(probabilities.view(3, 4, -1), 3).flatten(0, 1).numpy(), shares * ROWS, rtol=1e-5)


def test_sinkhorn_gives_every_prototype_the_same_in_the_end(probabilities):
    columns = [sinkhorn(probabilities, iterations).sum(dim=0) for iterations in (0, 3, 500)]
    distances = [(column - ROWS / PROTOTYPES).abs().max().item() for column in columns]
    assert distances[0] > 5 * distances[1]
    np.testing.assert_allclose(columns[2], ROWS / PROTOTYPES, rtol=1e-4)
    np.testing.assert_allclose(sinkhorn(probabilities, 3).sum(dim=1), 1.0, rtol=1e-6)


def test_sinkhorn_does_not_divide_by_a_prototype_that_nobody_uses():
    unused = torch.softmax(torch.tensor([[200.0, 0.0, 0.0], [0.0, -200.0, 0.0]]), dim=1)
    assert sinkhorn(unused * torch.tensor([1.0, 0.0, 1.0]), 3).isfinite().all()


def test_koleo_is_the_mean_log_distance_to_the_nearest_other():
    views = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(1))
    expected = 0.0
    for view in views.double().numpy():
        unit = view / np.linalg.norm(view, axis=1, keepdims=True)
        for i, row in enumerate(unit):
            nearest = min(math.dist(row, other) for j, other in enumerate(unit) if j != i)
            expected -= math.log(nearest) / 6
    assert koleo(views, views, 0).item() == pytest.approx(expected, rel=1e-5)
    parts = 2 / 6 * koleo(views[:, :2], views, 0) + 4 / 6 * koleo(views[:, 2:], views, 2)
    assert parts.item() == pytest.approx(expected, rel=1e-5)


def test_koleo_of_few():
    assert koleo(torch.tensor([[[3.0, 0.0], [0.0, 5.0]]]), torch.tensor([[[3.0, 0.0], [0.0, 5.0]]]), 0).item() == pytest.approx(
        -math.log(2**0.5)
    )
    alike = torch.ones(1, 4, 3, requires_grad=True)
    koleo(alike, alike, 0).backward()
    assert alike.grad is not None and alike.grad.isfinite().all()
    lone = torch.ones(1, 1, 3, requires_grad=True)
    assert koleo(lone, lone, 0).item() == 0.0


def test_mean_entropy_of_known_outputs(probabilities):
    assert mean_entropy(torch.full((2, 3, 8), 1 / 8)).item() == pytest.approx(0.0, abs=1e-6)
    assert mean_entropy(torch.eye(4)).item() == pytest.approx(0.0, abs=1e-6)  # each of them sure, all of them together not
    assert mean_entropy(torch.eye(4)[[2, 2, 2]]).item() == pytest.approx(math.log(4))
    mean = probabilities.double().numpy().mean(axis=0)
    assert mean_entropy(probabilities).item() == pytest.approx(math.log(PROTOTYPES) + (mean * np.log(mean)).sum(), rel=1e-4)


def test_correlation_norm_is_numpys():
    outputs = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(2)) + 0.5
    rows = outputs.flatten(0, 1).double().numpy()
    lengths = np.linalg.norm(rows, axis=0)
    expected = math.log(np.linalg.norm(rows.T @ rows / np.outer(lengths, lengths), "fro"))
    assert correlation_norm(outputs).item() == pytest.approx(expected, rel=1e-5)


def test_correlation_norm_of_known_outputs():
    """Dimensions that have nothing in common reach the least; copies of one another reach the most."""
    assert correlation_norm(torch.eye(4) * 7).item() == pytest.approx(math.log(4) / 2)
    copies = torch.randn(9, 1).expand(-1, 4).clone().requires_grad_()
    norm = correlation_norm(copies)
    norm.backward()
    assert norm.item() == pytest.approx(math.log(4), rel=1e-5)
    assert copies.grad is not None and copies.grad.isfinite().all()
    assert correlation_norm(torch.zeros(3, 4)).isfinite()
