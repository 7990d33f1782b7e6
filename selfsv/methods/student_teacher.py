"""The base of objectives with a student and a slowly moving teacher: two networks alike, and their state."""

import copy
from typing import Any, Generic, TypeVar, cast

from torch import nn

from selfsv.engine.diagnostics import all_finite
from selfsv.engine.runtime import Runtime

Network = TypeVar("Network", bound=nn.Module)


class StudentAndTeacher(Generic[Network]):
    """A part of an `Objective`: the student, which the optimiser moves, and the teacher, which begins as its copy.

    Args:
        network: has its encoder under the name `encoder`.
    """

    def __init__(self, network: Network, runtime: Runtime):
        self.student = self.trained = runtime.placed(network)
        self.teacher = copy.deepcopy(network).requires_grad_(False)
        for encoder in (self.student.encoder, self.teacher.encoder):
            runtime.prepared(cast(nn.Module, encoder))

    def train(self) -> None:
        """Put both networks into training mode: the teacher's BatchNorm normalises by the batch, too."""
        self.student.train()
        self.teacher.train()

    def is_finite(self) -> bool:
        """Whether all weights are finite."""
        return all_finite(self.student, self.teacher)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {"student": self.student.state_dict(), "teacher": self.teacher.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        self.student.load_state_dict(state["student"])
        self.teacher.load_state_dict(state["teacher"])
