"""A training's history: a row per epoch, in Parquet and TensorBoard."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd
from torch.utils.tensorboard import SummaryWriter

from selfsv.artifacts import write_table

log = logging.getLogger(__name__)
Row = dict[str, Any]


def write_history(path: Path, rows: list[Row]) -> None:
    """`rows` as `history.parquet`."""
    write_table(path, pd.DataFrame(rows))


def write_tensorboard(folder: Path, rows: list[Row]) -> None:
    """The newest of `rows` into the TensorBoard log of `folder`; a resumed training overwrites what came after it."""
    row = rows[-1]
    with SummaryWriter(str(folder), purge_step=row["epoch"]) as writer:
        for name, value in row.items():
            if isinstance(value, int | float) and name != "epoch":
                writer.add_scalar(name, value, row["epoch"])


def announce(row: Row, epochs: int) -> None:
    """One line of log for an epoch, and its warnings loudly."""
    figures = ("loss", "accuracy", "teacher_entropy", "tau1", "reliable", "corrected", "learning_rate", "utterances_per_second")
    shown = ", ".join(f"{name} {row[name]:.4g}" for name in figures if row.get(name) is not None)
    log.info("epoch %d of %d: %s", row["epoch"] + 1, epochs, shown)
    if row["warning"]:
        log.warning("epoch %d: %s", row["epoch"] + 1, row["warning"])
