"""The teacher's weights, from the student's (paper Eq. 4), and averages of weights over time."""

from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the teacher's parameters towards the student's: teacher = momentum * teacher + (1 - momentum) * student.

    Parameters only: the teacher's BatchNorm statistics come from its own forward passes.
    """
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)


class WeightAverage:
    """A running mean of state dicts, parameters and statistics alike."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: dict[str, Tensor] = {}

    def add(self, weights: dict[str, Tensor]) -> None:
        """Count `weights` in. Integer entries (BatchNorm's counters) are taken from the newest."""
        self.count += 1
        for name, value in weights.items():
            value = value.detach().clone()
            blend = self.count > 1 and value.is_floating_point()
            self.mean[name] = self.mean[name].lerp(value, 1 / self.count) if blend else value

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from what `vars` gave of an average, on `device`."""
        self.count, self.mean = state["count"], {name: value.to(device) for name, value in state["mean"].items()}
