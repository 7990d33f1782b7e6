"""The batches of an epoch, which every process of a training plans alike."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import Dataset

from selfsv.data.batches import BatchIndices, epoch_batches, loaded, part_of, steps_of
from selfsv.engine.method import Method
from selfsv.engine.processes import local_processes
from selfsv.engine.runtime import Runtime
from selfsv.engine.shared_memory import require_shared_memory
from selfsv.errors import InputError


def require_same_batches(utterances: int, batch_size: int, before: int, processes: int) -> None:
    """Refuse a state of so many other processes that they divided the corpus into other batches.

    Raises:
        InputError: they did.
    """
    steps, steps_before = (steps_of(utterances, batch_size, count) for count in (processes, before))
    if steps != steps_before:
        raise InputError(
            f"the saved state was trained by {before} processes in {steps_before} batches an epoch, and {processes} processes would have "
            f"{steps}: each needs an utterance of every batch, and the batch size is {batch_size}. Go on with {before} (runtime.gpus, "
            "runtime.nodes), or raise the batch size, with which a training starts anew"
        )


class EpochBatches:
    """The batches of an epoch: who is in each, and this process's part of their audio."""

    def __init__(self, method: Method, epoch: int, utterances: int, runtime: Runtime):
        group = runtime.group
        planned = epoch_batches(method.seed, method.stage, epoch, utterances, method.batch_size, group.size)
        self.steps, self._runtime = len(planned), runtime
        self._parts: list[BatchIndices] = [part_of(indices, group.rank, group.size) for indices in planned]
        self._dataset: Dataset = method.begin_epoch(epoch)

    def require_shared_memory(self) -> None:
        """Refuse to begin where what the data workers read ahead would not fit."""
        require_shared_memory(self._dataset, self._parts[0], self._runtime.workers, local_processes())

    def after(self, step: int) -> Iterator[Any]:
        """Those from `step` on."""
        return loaded(self._dataset, self._parts[step:], self._runtime.workers, self._runtime.device)


class ExtraEpoch:
    """The batches of the epoch after the last, to look at and not to train on. Nothing is read before they are iterated over."""

    def __init__(self, method: Method, utterances: int, runtime: Runtime):
        self._method, self._utterances, self._runtime = method, utterances, runtime

    def __iter__(self) -> Iterator[Any]:
        return EpochBatches(self._method, self._method.epochs, self._utterances, self._runtime).after(0)
