"""Sinkhorn-Knopp: a teacher's outputs made to use all prototypes alike (Caron et al., 2020)."""

from collections.abc import Callable

import torch
from torch import Tensor

SMALLEST = torch.finfo(torch.float32).tiny


@torch.no_grad()
def sinkhorn(probabilities: Tensor, iterations: int, add_up: Callable[[Tensor], Tensor] = lambda part: part) -> Tensor:
    """Divide by the sums of columns and of rows in turn, so that each prototype is given nearly as much as any other.

    Args:
        probabilities: [..., K] positive, all rows of this process.
        iterations: 3 in SwAV and SDPN; the columns come out alike for many only.
        add_up: sums a tensor over the processes that share the batch.

    Returns:
        [..., K] float32, rows of sum 1.
    """
    shares = probabilities.float()
    for _ in range(iterations):
        columns = add_up(shares.flatten(0, -2).sum(dim=0))
        shares = shares / columns.clamp(min=SMALLEST)
        shares = shares / shares.sum(dim=-1, keepdim=True).clamp(min=SMALLEST)
    return shares
