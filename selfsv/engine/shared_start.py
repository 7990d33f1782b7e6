"""A state that trainings share as long as they do the same: CA-DINO before its first clustering, whatever its clusters will be."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from selfsv.engine.checkpoints import StateFile


class SharedStart:
    """The state of one training in place of its `StateFile`: of all that share it at first, then its own.

    One training at a time goes through the start; the others wait for its end, then all go on from there. The start's last state is that
    of the end of its last epoch, so each of them is, bit for bit, what it would have been alone.

    Args:
        own: of this training.
        start: of all trainings whose first epochs are the same.
        epochs: how many that are.
    """

    def __init__(self, own: StateFile, start: StateFile, epochs: int):
        self.key = own.key
        self._own, self._start, self._epochs = own, start, epochs
        self._waiting = ExitStack()  # what ends the others' waiting

    @contextmanager
    def held(self, attempt: int) -> Iterator[None]:
        """As a `StateFile`'s; the start, too, is no other's until this training has left it behind."""
        with self._own.held(attempt), self._waiting:
            if not self._own.exists():
                self._waiting.enter_context(self._start.locked())
            yield

    def load(self) -> dict[str, Any] | None:
        """The newest state of this training, or else of the start."""
        return self._own.load() or self._start.load()

    def save(self, state: dict[str, Any]) -> None:
        """Add `state` to the start's, or to its own from the end of the start on."""
        if state["counters"]["epoch"] < self._epochs:
            self._start.save(state)
        else:
            self._own.save(state)
            self._waiting.close()
