"""Redundancy elimination, which the paper does not have: an embedding whose dimensions do not repeat each other."""

from collections.abc import Callable

import torch
from torch import Tensor

SMALLEST_POWER = 1e-8


def redundancy(embeddings: Tensor, add_up: Callable[[Tensor], Tensor] = lambda part: part) -> Tensor:
    """Redundancy of the embedding's dimensions: their squared covariances, summed over all pairs of two and divided by D.

    As in RDINO (Chen et al., 2023) and VICReg (Bardes et al., 2022, Eq. 3 and 4). Self-distillation on a small corpus, and the
    cosine loss, are content with the few directions in which utterances differ most; this keeps the others in use.

    Args:
        embeddings: [..., D] of the student, all views of all utterances of a batch.
        add_up: sums a tensor over the processes that share the batch, with gradients.

    Returns:
        A scalar, of the whole batch in every process.
    """
    rows = embeddings.float().flatten(0, -2)
    local = rows.new_full((1,), len(rows))
    count, total = add_up(torch.cat([local, rows.sum(dim=0)])).split([1, rows.shape[1]])
    centred = rows - total / count.clamp(min=1)
    covariance = add_up(centred.T @ centred) / (count - 1).clamp(min=1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / rows.shape[1]


def correlation_norm(outputs: Tensor, add_up: Callable[[Tensor], Tensor] = lambda part: part) -> Tensor:
    """The logarithm of the Frobenius norm of the matrix C of correlations between dimensions, not centred.

    The dimension regularisation of SDPN (Chen et al., 2025): ln ||C||_F = ln(D + sum over i != j of C_ij^2) / 2.

    Args:
        outputs: [..., D] of the head, all views of all utterances of this process.
        add_up: sums a tensor over the processes that share the batch, with gradients.

    Returns:
        A scalar, of the whole batch in every process; at least ln(D) / 2.
    """
    rows = outputs.float().flatten(0, -2)
    products = add_up(rows.T @ rows)
    lengths = products.diagonal().clamp(min=SMALLEST_POWER).sqrt()
    squares = (products / torch.outer(lengths, lengths)).square()
    # The diagonal is all ones; a constant in its place has no gradient, which rounding would give it.
    return torch.log(len(lengths) + squares.sum() - squares.diagonal().sum()) / 2
