"""The loop that both stages share: epochs of steps, a state that survives, a row of history per epoch."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from selfsv.data.batches import LEAST_BATCH, BatchIndices, epoch_batches, loaded, part_of
from selfsv.engine.checkpoints import StateFile, Termination
from selfsv.engine.history import Row, announce, write_tensorboard
from selfsv.engine.processes import Group, local_processes
from selfsv.engine.runtime import Runtime
from selfsv.engine.shared_memory import require_shared_memory
from selfsv.errors import InputError, TrainingError

log = logging.getLogger(__name__)
TERMINATED = 128 + 15
GO_ON, SAVE, END = range(3)  # what the processes of a job agree on after a step


class UtteranceBatch(Protocol):
    """What every method's batches have."""

    @property
    def utterances(self) -> Tensor:
        """[B] int64, which utterances of the corpus these are."""


Batch = TypeVar("Batch", bound=UtteranceBatch)
Taken = TypeVar("Taken", bound=UtteranceBatch, contravariant=True)


class Method(Protocol[Taken]):
    """What is trained: CA-DINO, DLG-LC, or a tuning of either. Its state is all that a restart needs beyond the loop's own counters."""

    name: str  # of the stage, for files and logs
    stage: int  # 0: pretraining, i: round i; part of every random draw
    seed: int
    epochs: int
    batch_size: int

    def begin_epoch(self, epoch: int) -> Dataset:
        """Prepare an epoch; its batches, indexed by `BatchIndices`."""

    def step(self, batch: Taken, progress: float) -> None:
        """One update of the weights; `progress` is in epochs, with the fraction of the current one."""

    def is_finite(self) -> bool:
        """Whether all losses of the epoch so far and all weights are finite (waits for the device)."""

    def end_epoch(self, epoch: int) -> Row:
        """Close an epoch; its figures."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Counters:
    """Where a training is, and what the current epoch has cost so far."""

    def __init__(self) -> None:
        self.epoch = 0
        self.step = 0
        self.seconds = 0.0
        self.waited = 0.0
        self.rows: list[Row] = []


def fit(method: Method[Batch], utterances: int, runtime: Runtime, state: StateFile, tensorboard: Path, attempt: int = 1) -> list[Row]:
    """Train `method` to the end, from its saved state where there is one.

    Of several processes each sees a part of every batch, and the first one alone reads and writes files.

    Args:
        utterances: size of the corpus.
        tensorboard: folder of the TensorBoard log.
        attempt: the workflow's count of tries of this job, from 1.

    Returns:
        The history, a row per epoch.

    Raises:
        InputError: there are too few utterances, or too little shared memory for the data workers.
        TrainingError: the loss or a weight is not finite, or the method stopped the run; at the next attempts, that it did.
        SystemExit: the job was asked to end; its state is saved.
    """
    counters, group = Counters(), runtime.group
    if utterances < (least := max(LEAST_BATCH, group.size)):
        # BatchNorm needs two of them, and a process without any would compute the mean of nothing.
        raise InputError(f"{utterances} utterances are too few to train on with {group.size} processes: {least} at least are needed")
    with _alone_with(state, attempt, group), logging_redirect_tqdm():
        saved = group.on_first_rank(state.load)
        if saved is not None:
            vars(counters).update(saved["counters"])
            method.load_state_dict(saved["method"])
            log.info("%s goes on at epoch %d, step %d", method.name, counters.epoch + 1, counters.step)

        def save() -> None:
            if not method.is_finite():
                where = f"{method.name}, epoch {counters.epoch + 1}"
                raise TrainingError(f"{where}: the loss or a weight is not finite. Lower the learning rate, or check the audio")
            if group.first:
                state.save({"counters": vars(counters), "method": method.state_dict()})

        with Termination().watched() as termination:
            last_save, first_epoch = time.monotonic(), counters.epoch
            while counters.epoch < method.epochs:
                planned = epoch_batches(method.seed, method.stage, counters.epoch, utterances, method.batch_size, group.size)
                dataset = method.begin_epoch(counters.epoch)
                if counters.epoch == first_epoch:
                    require_shared_memory(dataset, part_of(planned[0], group.rank, group.size), runtime.workers, local_processes())
                bar = _bar(method, counters, utterances, len(planned), group)
                for batch in _timed(_batches(dataset, planned[counters.step :], runtime), counters):
                    method.step(batch, counters.epoch + counters.step / len(planned))
                    counters.step += 1
                    bar.update(group.size * len(batch.utterances))
                    due = time.monotonic() - last_save > runtime.checkpoint_seconds
                    agreed = group.largest(END if termination.requested else SAVE if due else GO_ON)
                    if agreed != GO_ON:
                        save()
                        last_save = time.monotonic()
                    if agreed == END:
                        place = (method.name, counters.epoch + 1, counters.step)
                        log.warning("%s was asked to end and has saved its state at epoch %d, step %d", *place)
                        raise SystemExit(TERMINATED)
                bar.close()
                save()
                counters.rows.append(_closed(method, counters, utterances))
                if group.first:
                    write_tensorboard(tensorboard, counters.rows)
                announce(counters.rows[-1], method.epochs)
                counters.epoch, counters.step, counters.seconds, counters.waited = counters.epoch + 1, 0, 0.0, 0.0
            save()
    return counters.rows


def extra_epoch(method: Method[Batch], utterances: int, runtime: Runtime) -> Iterator[Batch]:
    """The batches of an epoch after the last, to look at and not to learn from."""
    planned = epoch_batches(method.seed, method.stage, method.epochs, utterances, method.batch_size, runtime.group.size)
    yield from _batches(method.begin_epoch(method.epochs), planned, runtime)


@contextmanager
def _alone_with(state: StateFile, attempt: int, group: Group) -> Iterator[None]:
    """Hold the state's lock, in the first process of the group for all of them, and watch for failures that would repeat themselves."""
    if not group.first:
        yield
        return
    with state.locked(), state.failing_once(attempt):
        yield


def _batches(dataset: Dataset, planned: list[BatchIndices], runtime: Runtime) -> Iterator[Any]:
    """This process's part of each batch."""
    group = runtime.group
    parts = [part_of(indices, group.rank, group.size) for indices in planned]
    return loaded(dataset, parts, runtime.workers, runtime.device.type == "cuda")


def _bar(method: Method[Batch], counters: Counters, utterances: int, steps: int, group: Group) -> tqdm:
    """Progress of an epoch with rate and ETA: a bar on a terminal, else nothing (each epoch is a line of the log)."""
    done = round(utterances * counters.step / steps)
    title = f"{method.name} {counters.epoch + 1}/{method.epochs}"
    return tqdm(total=utterances, initial=done, desc=title, unit="utt", disable=None if group.first else True, leave=False, mininterval=1.0)


def _timed(batches: Iterator[Batch], counters: Counters) -> Iterator[Batch]:
    """`batches`, with the time spent on each and the time waited for it added to `counters`."""
    while True:
        start = time.monotonic()
        batch = next(batches, None)
        counters.waited += time.monotonic() - start
        if batch is None:
            return
        yield batch
        counters.seconds += time.monotonic() - start


def _closed(method: Method[Batch], counters: Counters, utterances: int) -> Row:
    row = {"epoch": counters.epoch, **method.end_epoch(counters.epoch)}
    warning = row.pop("warning", "")
    return {
        **row,
        "utterances_per_second": utterances / max(counters.seconds, 1e-9),
        "data_wait_seconds": counters.waited,
        "seconds": counters.seconds,
        "warning": warning,
    }
