"""Figures of an epoch: sums on the device, for which nothing waits within the epoch."""

from typing import Any

import torch
from torch import Tensor

from selfsv.engine.processes import Group

STEPS_OF_A_POINT = 20  # of the curve within epochs


class EpochMeans:
    """Means of figures over the steps of an epoch, kept on the device: nothing waits for it within the epoch.

    Args:
        names: of the figures, in the order in which they are added; the loss is the first.

    Attributes:
        losses: of the epoch that was closed last, a mean over each `STEPS_OF_A_POINT` steps.
    """

    def __init__(self, names: tuple[str, ...], device: torch.device):
        self.names, self.steps, self._sums = names, 0, torch.zeros(len(names), device=device)
        self._points: list[Tensor] = []  # the sum of the losses after each so many steps
        self.losses: list[float] = []

    def add(self, figures: Tensor) -> None:
        """Count a step in: [figures]."""
        self.steps += 1
        self._sums += figures
        if self.steps % STEPS_OF_A_POINT == 0:
            self._points.append(self._sums[0].clone())

    def close(self) -> dict[str, float]:
        """Return the means by name, and begin the next epoch."""
        means = dict(zip(self.names, (self._sums / max(self.steps, 1)).tolist(), strict=True))
        last = [self._sums[0]] if self.steps % STEPS_OF_A_POINT else []
        sums = torch.stack([torch.zeros_like(self._sums[0]), *self._points, *last]).diff()
        counts = [STEPS_OF_A_POINT] * len(self._points) + [self.steps % STEPS_OF_A_POINT] * len(last)
        self.losses = [total / count for total, count in zip(sums.tolist(), counts, strict=True)]
        self.steps, self._sums, self._points = 0, torch.zeros_like(self._sums), []
        return means

    def is_finite(self) -> bool:
        """Check that all figures so far are finite (waits for the device)."""
        return bool(self._sums.isfinite().all())

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {"steps": self.steps, "sums": self._sums, "points": self._points}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        self.steps = state["steps"]
        self._sums.copy_(state["sums"])
        self._points = [point.to(self._sums.device) for point in state.get("points", [])]


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
