"""Redundancy elimination, which the paper does not have: an embedding whose dimensions do not repeat each other."""

from collections.abc import Callable

import torch
from torch import Tensor


def redundancy(embeddings: Tensor, add_up: Callable[[Tensor], Tensor] = lambda part: part) -> Tensor:
    """How much the embedding's dimensions say the same: their squared covariances, summed over all pairs of two and divided by D.

    As in RDINO (Chen et al., 2023) and VICReg (Bardes et al., 2022, Eq. 3 and 4). Self-distillation on a small corpus, and the
    cosine loss, are content with the few directions in which utterances differ most; this keeps the others in use.

    Args:
        embeddings: [..., D] of the student, all views of all utterances of a batch.
        add_up: sums a tensor over the processes that share the batch, with gradients.

    Returns:
        A scalar, of the whole batch in every process.
    """
    rows = embeddings.float().flatten(0, -2)
    here = rows.new_full((1,), len(rows))
    count, total = add_up(torch.cat([here, rows.sum(dim=0)])).split([1, rows.shape[1]])
    centred = rows - total / count.clamp(min=1)
    covariance = add_up(centred.T @ centred) / (count - 1).clamp(min=1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / rows.shape[1]
