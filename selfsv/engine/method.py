"""The interface between the loop and a training method."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor
from torch.utils.data import Dataset

from selfsv.engine.history import Row


class UtteranceBatch(Protocol):
    """The part that every method's batches have."""

    @property
    def utterances(self) -> Tensor:
        """[B] int64, which utterances of the corpus these are."""


Batch = TypeVar("Batch", bound=UtteranceBatch)
Taken = TypeVar("Taken", bound=UtteranceBatch, contravariant=True)


class Method(Protocol[Taken]):
    """A training: stage I, a round of stage II, or a tuning. Its state is all that a restart needs beside the loop's counters."""

    name: str  # of the stage, for files and logs
    stage: int  # 0: stage I, i: round i; part of every random draw
    seed: int
    epochs: int
    batch_size: int

    def begin_epoch(self, epoch: int) -> Dataset:
        """Prepare an epoch; return its batches, indexed by `BatchIndices`."""

    def step(self, batch: Taken, progress: float) -> None:
        """Update the weights once; `progress` is in epochs, with the fraction of the current one."""

    def is_finite(self) -> bool:
        """Whether all losses of the epoch so far and all weights are finite (waits for the device)."""

    def end_epoch(self, epoch: int) -> Row:
        """Close an epoch; return its row of the history."""

    @property
    def step_losses(self) -> Sequence[float]:
        """The losses within the epoch that was closed last, as `EpochMeans` has them."""

    def finish(self, batches: Iterable[Taken]) -> None:
        """Close the training.

        Args:
            batches: those of one more epoch, read each time they are iterated over, and not read at all otherwise.
        """

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...
