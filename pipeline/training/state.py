"""The state of a training, kept outside every output so that a killed job goes on where it was."""

import fcntl
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.artifacts import load_torch, save_torch
from pipeline.errors import InputError

log = logging.getLogger(__name__)


class StateFile:
    """One training's state on disk. `key` names the settings and inputs, so that no other training ever finds it."""

    def __init__(self, folder: Path, stage: str, key: str):
        self.key = key
        self._path = folder / f"{stage}-{key}.pt"

    def load(self) -> dict[str, Any] | None:
        """The saved state, or None where there is none that can be read."""
        if not self._path.exists():
            return None
        try:
            return load_torch(self._path)
        except InputError as error:
            log.warning("starting over: %s", error)
            return None

    def save(self, state: dict[str, Any]) -> None:
        """Put `state` in the place of the last one, in one step."""
        save_torch(self._path, state)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from training with this state meanwhile.

        Raises:
            InputError: another process does.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path.with_suffix(".lock"), "w") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError(f"another process is training with {self._path}: wait for it, or end it") from None
            yield


class Termination:
    """Remembers SIGTERM, so that a job asked to end can save its state at the next step."""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def watched(self) -> Iterator["Termination"]:
        """Catch SIGTERM inside."""
        before = signal.signal(signal.SIGTERM, self._note)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, before)

    def _note(self, *_: object) -> None:
        self.requested = True
