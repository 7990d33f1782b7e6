"""The state of a training, kept outside every output so that a killed job goes on where it was."""

import hashlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol, Self

from selfsv.artifacts import load_torch, save_torch, write_text
from selfsv.engine.history import Counters
from selfsv.engine.method import Method
from selfsv.engine.runtime import Runtime
from selfsv.errors import InputError, TrainingError, lasting
from selfsv.locking import UnsupportedLocksError, try_lock

log = logging.getLogger(__name__)

KEPT = 2  # states of one training: the newest, and the one before in case that cannot be read
KEPT_OF_OTHERS = 4  # trainings of the same stage with other settings or inputs, of which the newest state is kept
TERMINATED = 128 + 15  # the status of a job that SIGTERM ended
GO_ON, SAVE, LEAVE, END = range(4)  # what the processes of a job agree on after a step
SECONDS_BETWEEN_LOOKS, SECONDS_BETWEEN_MESSAGES = 5.0, 60.0


class State(Protocol):
    """Keeps the state of a training."""

    key: str

    def held(self, attempt: int) -> AbstractContextManager[None]:
        """Keep other processes from training with it meanwhile. `attempt` is the workflow's count of tries, from 1."""

    def load(self) -> dict[str, Any] | None:
        """The newest state; None where there is none."""

    def save(self, state: dict[str, Any]) -> None:
        """Add `state`, whole or not at all."""


class StateFile:
    """One training's state on disk: `{stage}-{key}.{number}.{digest}.pt`.

    `key` names the settings and inputs, so that no other training ever finds it, and a training finds its own again after
    a change has been taken back. `digest` is the file's SHA-256, so that a damaged file is noticed.
    """

    def __init__(self, folder: Path, stage: str, key: str):
        self.key = key
        self._folder, self._stage = folder, stage
        self._name = f"{stage}-{key}"

    def load(self) -> dict[str, Any] | None:
        """The newest state that is as it was written; None where there is none."""
        for path in reversed(self._saved()):
            try:
                if _digest(path) != path.suffixes[-2][1:]:
                    raise InputError(f"{path} is not as it was written")
                return load_torch(path)
            except InputError as error:
                log.warning("damaged state: %s. Going on from the one before, or from the beginning", error)
        return None

    def save(self, state: dict[str, Any]) -> None:
        """Add `state`, whole or not at all, then let go of the oldest."""
        saved = self._saved()
        number = _number(saved[-1]) + 1 if saved else 0
        unnamed = self._folder / f"{self._name}.unnamed"
        try:
            save_torch(unnamed, state)
            os.replace(unnamed, self._folder / f"{self._name}.{number:06d}.{_digest(unnamed)}.pt")
        finally:
            unnamed.unlink(missing_ok=True)
        for path in self._saved()[:-KEPT]:
            path.unlink(missing_ok=True)
        self._let_go_of_others()

    def exists(self) -> bool:
        """Check whether a state was saved; it may be damaged."""
        return bool(self._saved())

    def _saved(self) -> list[Path]:
        """This training's files, the newest last."""
        return sorted(self._folder.glob(f"{self._name}.*.*.pt"), key=_number)

    def _let_go_of_others(self) -> None:
        """Keep the newest state of the latest few trainings of this stage."""
        others: dict[str, list[Path]] = {}
        for path in self._folder.glob(f"{self._stage}-*.*.*.pt"):
            others.setdefault(path.name.split(".")[0], []).append(path)
        others.pop(self._name, None)
        newest = {name: max(paths, key=_number) for name, paths in others.items() if name.rpartition("-")[0] == self._stage}
        spared = sorted(newest.values(), key=lambda path: path.stat().st_mtime)[-KEPT_OF_OTHERS:]
        for path in (path for name in newest for path in others[name] if path not in spared):
            path.unlink(missing_ok=True)

    @contextmanager
    def held(self, attempt: int) -> Iterator[None]:
        """`locked` and `failing_once`."""
        with self.locked(), self.failing_once(attempt):
            yield

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process, on any node, from training with this state meanwhile; wait while another one does.

        A controller that was killed leaves its jobs behind: a second run must neither train beside them nor fail for it. Where the
        file system has no locks the training goes on without, and says so.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / f"{self._name}.lock", "a+") as file:
            _wait_for(file)
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            for unfinished in self._folder.glob(f".{self._name}.*.partial"):  # of a process that was killed while it wrote
                unfinished.unlink(missing_ok=True)
            yield

    @contextmanager
    def failing_once(self, attempt: int) -> Iterator[None]:
        """Remember a failure that would repeat itself, so that a retry of the same run ends at once with the same reason.

        Args:
            attempt: the workflow's count of tries, from 1. A first try forgets what was remembered: something may have
                been mended since.

        Raises:
            TrainingError: this is a retry of a training that failed for a reason that lasts.
        """
        mark = self._folder / f"{self._name}.failed"
        if attempt <= 1:
            mark.unlink(missing_ok=True)
        elif mark.exists():
            raise TrainingError(f"not tried again, it would fail as before: {mark.read_text(encoding='utf-8')}")
        try:
            yield
        except Exception as error:
            if reason := lasting(error):
                write_text(mark, reason)
            raise


def _wait_for(file: IO[str]) -> None:
    """Lock `file`, waiting for whoever has it; where there can be no locks, warn of what that means."""
    last_message = -SECONDS_BETWEEN_MESSAGES
    try:
        while not try_lock(file):
            if time.monotonic() - last_message >= SECONDS_BETWEEN_MESSAGES:
                file.seek(0)
                log.warning("waiting: %s is training with this state (%s)", file.read() or "another process", file.name)
                last_message = time.monotonic()
            time.sleep(SECONDS_BETWEEN_LOOKS)
    except UnsupportedLocksError as error:
        log.warning(
            "%s: %s. Going on without a lock: see to it that no second run of this experiment is under way", error.filename, error.strerror
        )


def _number(path: Path) -> int:
    """Which of its training's states the file holds."""
    return int(path.suffixes[-3][1:])


def _digest(path: Path) -> str:
    """Sixteen digits of the file's SHA-256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


class Checkpoints:
    """Saves a training's state: from time to time, before its SLURM job's time is over, at SIGTERM, and when the loop says so.

    Used in a `with`. Inside, SIGTERM is noted, and acted on after the next step.

    A job whose time is over goes back to the queue, if its state is further on than when it began: a training may need any number of
    allocations. One that gains nothing runs into its time limit, and fails.
    """

    def __init__(self, method: Method, state: State, runtime: Runtime):
        self._method, self._state, self._runtime = method, state, runtime
        self.counters, self._saved_at, self._end_requested = Counters(), time.monotonic(), False
        self._allocation, self._advanced = runtime.allocation, False
        self.saved_by = runtime.group.size  # processes that the state comes from; those of now where there is none
        if (saved := runtime.group.on_first_rank(state.load)) is not None:
            self.saved_by = saved.get("processes", runtime.group.size)
            self.counters = Counters(**saved["counters"])
            method.load_state_dict(saved["method"])
            log.info("%s goes on at epoch %d, step %d", method.name, self.counters.epoch + 1, self.counters.step)
        self._began = self.counters.epoch, self.counters.step

    def __enter__(self) -> Self:
        self._handler = signal.signal(signal.SIGTERM, self._note_request)
        if self._allocation:
            self._last_call = threading.Timer(self._allocation.last_call, self._leave_without_saving)
            self._last_call.daemon = True
            self._last_call.start()
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._handler)
        if self._allocation:
            self._last_call.cancel()

    def _note_request(self, *_: object) -> None:
        self._end_requested = True

    def after_step(self) -> None:
        """Save where it is time to. Where any process was asked to end, or the job's time is over, save and end: all agree on it.

        Raises:
            SystemExit: the job was asked to end, or is back in the queue.
        """
        agreed = self._runtime.group.largest(self._wish())
        if agreed != GO_ON:
            self.save()
        if agreed == END:
            place = (self._method.name, self.counters.epoch + 1, self.counters.step)
            log.warning("%s was asked to end and has saved its state at epoch %d, step %d", *place)
        if agreed == END or (agreed == LEAVE and self._runtime.group.on_first_rank(self._requeued)):
            raise SystemExit(TERMINATED)

    def _wish(self) -> int:
        """Choose what this process wants to do after a step."""
        if self._end_requested:
            return END
        if self._allocation and self._allocation.is_over:
            return LEAVE
        return SAVE if time.monotonic() - self._saved_at > self._runtime.checkpoint_seconds else GO_ON

    def _requeued(self) -> bool:
        """Put the job back in the queue. Where SLURM refuses, the training goes on until its time limit."""
        allocation, self._allocation = self._allocation, None
        return allocation is not None and allocation.requeue()

    def _leave_without_saving(self) -> None:
        """Put the job back in the queue in the middle of work between steps, a long clustering for example: it is done again."""
        if self._advanced and self._requeued():
            log.warning("%s could not save its state anew: it goes on from the last one", self._method.name)

    def save(self) -> None:
        """Save the state.

        Raises:
            TrainingError: it has gone bad, and the one before is kept.
        """
        if not self._method.is_finite():
            where = f"{self._method.name}, epoch {self.counters.epoch + 1}"
            raise TrainingError(f"{where}: the loss or a weight is not finite. Lower the learning rate, or check the audio")
        if self._runtime.group.first:
            here = {"counters": vars(self.counters), "processes": self._runtime.group.size}
            self._state.save({**here, "method": self._method.state_dict()})
        self._saved_at, self._advanced = time.monotonic(), (self.counters.epoch, self.counters.step) > self._began
