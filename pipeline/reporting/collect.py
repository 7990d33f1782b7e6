"""What an experiment has left behind, as far as it is there: a report is made of any part of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.artifacts import load_torch, read_table
from pipeline.scoring.error_rates import operating_points
from pipeline.scoring.systems import systems
from pipeline.settings.experiment import Experiment


def optional_table(path: Path, columns: tuple[str, ...] | None = None) -> pd.DataFrame | None:
    """The Parquet file at `path`; None where there is none or it has no rows."""
    if not path.exists():
        return None
    table = read_table(path, columns)
    return table if len(table) else None


@dataclass(frozen=True)
class Results:
    """The folder of one experiment."""

    folder: Path
    settings: Experiment

    @property
    def systems(self) -> list[str]:
        """Names of the experiment's systems, baselines first."""
        return systems(self.settings.rounds, self.settings.baselines)

    @property
    def trained(self) -> list[str]:
        """Names of those that were trained, in order."""
        return systems(self.settings.rounds, baselines=False)

    def metrics(self) -> pd.DataFrame | None:
        """A row per system, trial list and norm."""
        return optional_table(self.folder / "metrics.parquet")

    def history(self, system: str) -> pd.DataFrame | None:
        """A row per epoch."""
        return optional_table(self.folder / system / "history.parquet")

    def gate(self, system: str) -> pd.DataFrame | None:
        """A row per epoch: threshold, mixture, fractions."""
        table = optional_table(self.folder / system / "gate.parquet")
        return table if table is None else table[table["modality"] == "audio"]

    def clean_losses(self, system: str) -> np.ndarray | None:
        """[N] clean losses of the last epoch, without those that are not finite: a training that went wrong has a page, too."""
        table = optional_table(self.folder / system / "losses.parquet", ("loss_clean",))
        return None if table is None else table.loc[np.isfinite(table["loss_clean"]), "loss_clean"].to_numpy()

    def labels(self, system: str) -> np.ndarray | None:
        """[N] pseudo labels."""
        table = optional_table(self.folder / system / "pseudo_labels.parquet", ("label",))
        return None if table is None else table["label"].to_numpy()

    def quality(self, system: str) -> pd.Series | None:
        """Sizes of the system's clusters and their agreement with speakers."""
        table = optional_table(self.folder / system / "cluster_quality.parquet")
        return None if table is None else table.iloc[0]

    def error_curve(self, system: str, trials: str, norm: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Miss and false-alarm rates of a system's scores."""
        table = optional_table(self.folder / system / "scores" / f"{trials}.parquet", ("target", norm))
        return None if table is None else operating_points(table[norm].to_numpy(), table["target"].to_numpy())

    def manifest(self, corpus: str) -> pd.DataFrame | None:
        """A row per utterance of a corpus, rejected ones included."""
        columns = ("utterance", "path", "session", "num_samples", "status", "reason")
        return optional_table(self.folder / "data" / corpus / "manifest.parquet", columns)

    def speakers(self, corpus: str) -> int | None:
        """How many speakers a corpus has, where they are known."""
        table = optional_table(self.folder / "data" / corpus / "speakers.parquet", ("speaker",))
        return None if table is None else int(table["speaker"].nunique())

    def provenance(self, system: str) -> dict[str, Any] | None:
        """Where a model came from."""
        path = self.folder / system / "model.pt"
        return load_torch(path, mmap=True)["provenance"] if path.exists() else None
