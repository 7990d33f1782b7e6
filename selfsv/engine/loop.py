"""The loop that all trainings share: epochs of steps, a state that survives, a row of history per epoch. It knows no method."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from tqdm.contrib.logging import logging_redirect_tqdm

from selfsv.data.batches import BatchIndices, epoch_batches, loaded, part_of, steps_of
from selfsv.engine.checkpoints import Checkpoints, StateFile
from selfsv.engine.history import EpochLines, Row, announce, epoch_bar, write_tensorboard
from selfsv.engine.method import Batch, Method
from selfsv.engine.processes import local_processes
from selfsv.engine.runtime import Runtime
from selfsv.engine.shared_memory import require_shared_memory
from selfsv.engine.snapshots import Snapshots
from selfsv.errors import InputError, TrainingError
from selfsv.settings.train import LEAST_BATCH


def fit(
    method: Method[Batch],
    utterances: int,
    runtime: Runtime,
    state: StateFile,
    tensorboard: Path,
    attempt: int = 1,
    snapshots: Snapshots | None = None,
) -> list[Row]:
    """Train `method` to the end, from its saved state where there is one.

    Of several processes each sees a part of every batch. Only the first one reads and writes files. How many there are may change from one
    attempt to the next: a state holds nothing of a single process.

    Args:
        utterances: size of the corpus.
        tensorboard: folder of the TensorBoard log.
        attempt: the workflow's count of tries of this job, from 1.
        snapshots: models to write on the way; None: none.

    Returns:
        The history, a row per epoch.

    Raises:
        InputError: there are too few utterances, too little shared memory for the data workers, or the state is that of other batches.
        TrainingError: the loss or a weight is not finite, memory does not suffice, or the method stopped the run; at the next attempts,
            that it did.
        StalledError: another process of the group does not answer.
        SystemExit: the job was asked to end; its state is saved.
    """
    if utterances < (least := max(LEAST_BATCH, runtime.group.size)):
        # BatchNorm needs two of them, and a process without any would compute the mean of nothing.
        raise InputError(
            f"{utterances} utterances are too few to train on with {runtime.group.size} processes: {least} at least are needed"
        )
    with state.held(attempt) if runtime.group.first else nullcontext(), logging_redirect_tqdm():
        with runtime.group.answering(), _naming_what_is_large(method, runtime), Checkpoints(method, state, runtime) as checkpoints:
            _require_same_batches(utterances, method.batch_size, checkpoints.saved_by, runtime.group.size)
            at = checkpoints.counters
            first_epoch = at.epoch
            while at.epoch < method.epochs:
                batches = EpochBatches(method, at.epoch, utterances, runtime)
                if at.epoch == first_epoch:
                    batches.require_shared_memory()
                title, done = f"{method.name}, epoch {at.epoch + 1}/{method.epochs}", at.step / batches.steps
                bar = epoch_bar(title, done, utterances, silent=not runtime.group.first)
                lines = EpochLines(title, at.step, batches.steps, method.epochs - at.epoch - 1)
                for batch in at.timed(batches.after(at.step), bar, runtime.group.size):
                    method.step(batch, at.epoch + at.step / batches.steps)
                    at.step += 1
                    lines.after_step(at.step)
                    checkpoints.after_step()
                checkpoints.save()
                row = at.close_epoch(method.end_epoch(at.epoch), utterances)
                if runtime.group.first:
                    write_tensorboard(tensorboard, at.rows)
                    if snapshots:
                        snapshots.after_epoch(at.epoch)
                announce(row, method.epochs)
            checkpoints.save()
        method.finish(ExtraEpoch(method, utterances, runtime))
    return at.rows


@contextmanager
def _naming_what_is_large(method: Method, runtime: Runtime) -> Iterator[None]:
    """A GPU's memory that does not suffice is an error that says what to lower.

    Raises:
        TrainingError: it did not.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        size, processes = method.batch_size, runtime.group.size
        share = (
            f"{size} utterances" if processes == 1 else f"{size} utterances, of which each of {processes} GPUs has {-(-size // processes)}"
        )
        raise TrainingError(
            f"{method.name}: out of memory of the GPU with batches of {share}. Of this training's section in the configuration, double "
            f"`encoder_parts` or halve `batch_size`; or raise `runtime.gpus`. {str(error).partition(chr(10))[0]}"
        ) from error


def _require_same_batches(utterances: int, batch_size: int, before: int, processes: int) -> None:
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
