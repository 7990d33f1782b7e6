"""What an objective of stage I is: DINO, or any other way to train an encoder on crops alone; and what some of them share.

`Pretraining` trains it: clusters, optimiser, schedules, clipping, processes, averages and state are there. A new objective is a new file
with a class `Objective` of this interface, and a line in `OBJECTIVES` (selfsv/settings/pretrain.py).
"""

import copy
from importlib import import_module
from typing import Any, Generic, Protocol, TypeVar, cast

from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import Dataset

from selfsv.data.batches import ClusterPartners
from selfsv.engine.diagnostics import all_finite, collapse
from selfsv.engine.history import Row
from selfsv.engine.runtime import Runtime
from selfsv.errors import TrainingError
from selfsv.methods.inputs import Inputs
from selfsv.settings.jobs import PretrainJob
from selfsv.settings.pretrain import OBJECTIVES, Method, PretrainSettings

Network = TypeVar("Network", bound=nn.Module)


class Objective(Protocol):
    """A way to train an encoder on crops alone."""

    figures: tuple[str, ...]  # columns of the history that `loss` gives; the first is the loss
    trained: nn.Module  # what the optimiser moves: its `encoder`, heads, prototypes
    encoder: nn.Module  # what is clustered with, averaged and exported: the teacher's where there is one
    last_layer: list[nn.Parameter]  # of `trained`, frozen in the first epochs where the settings ask for it
    undecayed: list[nn.Parameter]  # of `trained`, matrices without weight decay

    def __init__(self, job: PretrainJob, encoder: nn.Module, inputs: Inputs, runtime: Runtime): ...

    def views(self, partners: ClusterPartners | None) -> Dataset:
        """An epoch's crops, indexed by `BatchIndices`, with cluster partners where there are clusters."""

    def train(self) -> None:
        """Put all networks into training mode."""

    def loss(self, batch: Any, progress: float, share: float) -> list[Tensor]:
        """This process's figures of a batch, scalars; the first one with gradient.

        Args:
            progress: in epochs.
            share: of the batch's utterances that this process sees.
        """

    def after_step(self, progress: float) -> None:
        """Update moving averages and queues after an update of `trained`."""

    def end_epoch(self, epoch: int, means: dict[str, float]) -> Row:
        """Its own columns of the history, and a `warning`.

        Args:
            means: of its figures.

        Raises:
            TrainingError: it has collapsed, and the settings ask to stop then.
        """

    def is_finite(self) -> bool:
        """Whether all weights are finite."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def objective_of(name: Method) -> type[Objective]:
    """The class of the objective of this name."""
    return import_module(OBJECTIVES[name]).Objective


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


def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the teacher's parameters towards the student's: teacher = momentum * teacher + (1 - momentum) * student.

    Parameters only: the teacher's BatchNorm statistics come from its own forward passes.
    """
    parameters = [list(module.parameters()) for module in (teacher, student)]
    get_ema_multi_avg_fn(momentum)(*parameters, 0)


def collapse_warning(
    pretrain: PretrainSettings, epoch: int, loss: float, teacher_entropy: float, mean_entropy: float, prototypes: int
) -> str:
    """Describe a collapse of the outputs over prototypes after an epoch; empty without one, and during the warm-up.

    Args:
        loss, teacher_entropy, mean_entropy, prototypes: as of `collapse`.

    Raises:
        TrainingError: they have collapsed, and the settings ask to stop then.
    """
    if epoch < max(1, pretrain.optimiser.warmup_epochs):
        return ""
    warning = collapse(loss, teacher_entropy, mean_entropy, prototypes)
    if warning.startswith("COLLAPSE") and pretrain.on_collapse == "stop":
        raise TrainingError(f"epoch {epoch + 1}: {warning}. The run stops as pretrain.on_collapse asks")
    return warning
