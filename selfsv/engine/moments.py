"""Mean and covariance of embeddings over an epoch, and how many directions they use."""

from typing import Any

import torch
from torch import Tensor

from selfsv.engine.processes import Group


class EmbeddingMoments:
    """Sums over the embeddings of an epoch, kept on the device: nothing waits for it within the epoch.

    Args:
        dimensions: D of an embedding.
    """

    def __init__(self, dimensions: int, group: Group, device: torch.device):
        self._group, self._dimensions = group, dimensions
        # The count, the sum and the sum of outer products in one tensor: one message per step. Sums of a million are taken in double.
        self._sums = torch.zeros(1 + dimensions + dimensions**2, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, embeddings: Tensor) -> None:
        """Count in those of this process, [M, D], and of the others."""
        values = embeddings.float()
        count = values.new_full((1,), len(values))
        self._sums += self._group.sum(torch.cat([count, values.sum(dim=0), (values.T @ values).flatten()]))

    def close(self) -> float:
        """The effective dimensions, (Σλ)² / Σλ² of the covariance's eigenvalues λ; begin the next epoch. NaN where all are alike."""
        _, mean, outer = (self._sums / self._sums[0]).split([1, self._dimensions, self._dimensions**2])
        covariance = outer.view(self._dimensions, -1) - torch.outer(mean, mean)
        self._sums.zero_()
        return float(covariance.trace() ** 2 / covariance.square().sum())

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {"sums": self._sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        self._sums.copy_(state["sums"])
