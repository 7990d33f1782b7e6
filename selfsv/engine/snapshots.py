"""Models that a training writes on its way, to be looked at before its end. Nothing reads them but people, and `selfsv monitor`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:  # it takes a second to load, and `selfsv monitor` reads names alone
    from selfsv.engine.history import Counters

FOLDER = "snapshots"


@dataclass(frozen=True)
class Snapshots:
    """When a training writes its encoder, and where.

    Args:
        folder: of the files, `epoch-0010.pt` after ten epochs.
        every: epochs between them.
        save: writes the encoder as it is now, given the path and the number of epochs so far.
    """

    folder: Path
    every: int
    save: Callable[[Path, int], None]

    @classmethod
    def beside(cls, model: Path, every: int, save: Callable[[Path, int], None]) -> Self:
        """In a folder beside the model that the training makes in the end."""
        return cls(model.parent / FOLDER, every, save)

    def after_epoch(self, counters: "Counters") -> None:
        """Write one if it is time to."""
        if counters.epoch % self.every == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.save(self.folder / f"epoch-{counters.epoch:04d}.pt", counters.epoch)

    def finish(self) -> None:
        """The model of the last epoch is the training's own."""


def epoch_of(snapshot: Path) -> int:
    """The number of epochs that a snapshot was written after."""
    return int(snapshot.stem.removeprefix("epoch-"))
