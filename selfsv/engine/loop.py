"""The loop that all trainings share: epochs of steps, a state that survives, a row of history per epoch. It knows no method."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Protocol

from tqdm.contrib.logging import logging_redirect_tqdm

from selfsv.engine.checkpoints import Checkpoints, State
from selfsv.engine.epochs import EpochBatches, ExtraEpoch, require_same_batches
from selfsv.engine.gpu_memory import naming_what_is_large
from selfsv.engine.history import Counters, EpochLines, Row, announce, epoch_bar
from selfsv.engine.method import Batch, Method
from selfsv.engine.runtime import Runtime
from selfsv.errors import InputError
from selfsv.settings.train import LEAST_BATCH


class Follower(Protocol):
    """Somebody who looks on: nothing of the training depends on it. Only the first process has any."""

    def after_epoch(self, counters: Counters) -> None:
        """Note an epoch, the last one of `counters.rows`."""

    def finish(self) -> None:
        """Note that it was the last one."""


def fit(
    method: Method[Batch], utterances: int, runtime: Runtime, state: State, followers: Sequence[Follower] = (), attempt: int = 1
) -> list[Row]:
    """Train `method` to the end, from its saved state where there is one.

    Of several processes each sees a part of every batch. Only the first one reads and writes files. How many there are may change from one
    attempt to the next: a state holds nothing of a single process.

    Args:
        utterances: size of the corpus.
        attempt: the workflow's count of tries of this job, from 1.

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
        with runtime.group.answering(), naming_what_is_large(method, runtime), Checkpoints(method, state, runtime) as checkpoints:
            require_same_batches(utterances, method.batch_size, checkpoints.saved_by, runtime.group.size)
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
                row = at.close_epoch(method.end_epoch(at.epoch), utterances, method.step_losses)
                for follower in followers if runtime.group.first else ():
                    follower.after_epoch(at)
                announce(row, method.epochs)
            checkpoints.save()
            for follower in followers if runtime.group.first else ():
                follower.finish()
        method.finish(ExtraEpoch(method, utterances, runtime))
    return at.rows
