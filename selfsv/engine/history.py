"""A training's history: where it is, what an epoch cost, and a row per epoch in Parquet and TensorBoard."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from selfsv.artifacts import write_table
from selfsv.engine.figures import STEPS_OF_A_POINT
from selfsv.progress import duration, wants_bar

log = logging.getLogger(__name__)
Row = dict[str, Any]
SECONDS_BETWEEN_LINES = 30.0


@dataclass
class Counters:
    """The place of a training (epoch, step), and the time that the current epoch has taken."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    rows: list[Row] = field(default_factory=list)
    curve: list[list[float]] = field(default_factory=list)  # of the loss: [updates so far, mean since the last point]

    def timed(self, batches: Iterator[Any], progress_bar: tqdm, processes: int) -> Iterator[Any]:
        """`batches`, with the time spent on each and the time waited for it counted, and the bar moved.

        Args:
            processes: that share a batch.
        """
        with progress_bar:
            while True:
                start = time.monotonic()
                batch = next(batches, None)
                self.waited += time.monotonic() - start
                if batch is None:
                    return
                yield batch
                progress_bar.update(processes * len(batch.utterances))
                self.seconds += time.monotonic() - start

    def close_epoch(self, figures: Row, utterances: int, losses: Sequence[float] = ()) -> Row:
        """Go on to the next epoch; return the row of the one that ends here.

        Args:
            figures: the method's.
            utterances: of the corpus.
            losses: means over each `STEPS_OF_A_POINT` steps of the epoch, the last one over the steps that are left.
        """
        before = self.epoch * self.step
        self.curve += [[before + min(point * STEPS_OF_A_POINT, self.step), loss] for point, loss in enumerate(losses, start=1)]
        warning = figures.pop("warning", "")
        rate = utterances / max(self.seconds, 1e-9)
        cost = {"utterances_per_second": rate, "data_wait_seconds": self.waited, "seconds": self.seconds}
        row = {"epoch": self.epoch, **figures, **cost, "warning": warning}
        self.rows.append(row)
        self.epoch, self.step, self.seconds, self.waited = self.epoch + 1, 0, 0.0, 0.0
        return row


class EpochLines:
    """A line of log every half minute of an epoch, with its speed and the time left, where there is no bar.

    Args:
        title: of the epoch.
        step: that the epoch begins with, here.
        steps: of the epoch.
        epochs_after: that follow this one.
    """

    def __init__(self, title: str, step: int, steps: int, epochs_after: int):
        self._title, self._first, self._steps, self._epochs_after = title, step, steps, epochs_after
        self._start = self._last = time.monotonic()

    def after_step(self, step: int) -> None:
        """Count the steps up to `step`; write a line if it is time for one."""
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES or wants_bar():
            return
        self._last = now
        pace = (now - self._start) / (step - self._first)
        left = pace * (self._steps - step)
        left_of_all = left + pace * self._steps * self._epochs_after
        done = f"{step} of {self._steps} steps ({step / self._steps:.0%}), {pace:.2g} s each"
        log.info("%s: %s, %s left, and %s of all epochs", self._title, done, duration(left), duration(left_of_all))


def epoch_bar(title: str, done: float, utterances: int, *, silent: bool) -> tqdm:
    """Rate and time left of an epoch: a bar on a terminal, else nothing (`EpochLines` writes lines of the log).

    Args:
        done: share of the epoch, at the start.
    """
    disable = silent or not wants_bar()
    return tqdm(total=utterances, initial=round(done * utterances), desc=title, unit="utt", disable=disable, leave=False, mininterval=1.0)


def write_history(path: Path, rows: list[Row]) -> None:
    """`rows` as `history.parquet`."""
    write_table(path, pd.DataFrame(rows))


class TensorBoard:
    """Keeps a training's history in the event file that TensorBoard shows."""

    def __init__(self, folder: Path):
        self._folder = folder

    def after_epoch(self, counters: Counters) -> None:
        """Write all epochs so far."""
        write_tensorboard(self._folder, counters.rows, counters.curve)

    def finish(self) -> None:
        """Nothing is left to do."""


def write_tensorboard(folder: Path, rows: list[Row], curve: Sequence[Sequence[float]] = ()) -> None:
    """All `rows`, and the points of the `curve` of the loss, as the one event file of TensorBoard in `folder`, in place of the one before.

    So a training that was resumed, or begun anew, has one file as well. None stays open: its thread would be copied into the processes
    that read the crops.
    """
    before = list(folder.glob("events.out.tfevents.*"))
    with SummaryWriter(str(folder), purge_step=0) as writer:
        for row in rows:
            for name, value in numbers(row):
                writer.add_scalar(name, value, row["epoch"])
        for step, loss in curve:
            writer.add_scalar("steps/loss", loss, int(step))
    for path in before:
        path.unlink(missing_ok=True)


def numbers(row: Row) -> Iterator[tuple[str, float]]:
    """The numbers of an epoch's row by name, without the epoch itself."""
    yield from ((name, float(value)) for name, value in row.items() if isinstance(value, int | float) and name != "epoch")


def announce(row: Row, epochs: int) -> None:
    """One line of log for an epoch, with the time that the epochs after it will take, and its warnings loudly."""
    figures = ("loss", "accuracy", "teacher_entropy", "tau1", "reliable", "corrected", "learning_rate", "utterances_per_second")
    shown = ", ".join(f"{name} {row[name]:.4g}" for name in figures if row.get(name) is not None)
    after = epochs - row["epoch"] - 1
    left = f", {duration(row['seconds'] * after)} left" if after else ""
    log.info("epoch %d of %d: %s%s", row["epoch"] + 1, epochs, shown, left)
    if row["warning"]:
        log.warning("epoch %d: %s", row["epoch"] + 1, row["warning"])
