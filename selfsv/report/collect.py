"""The artifacts of an experiment. Any of them may be missing: an unfinished run has a report, too."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from selfsv.artifacts import load_torch, read_labels, read_table
from selfsv.errors import InputError
from selfsv.scoring.calibration import read_calibration
from selfsv.scoring.error_rates import operating_points
from selfsv.scoring.systems import LARGE_MARGIN, finetuned, start_title, systems, title
from selfsv.settings.experiment import Experiment
from selfsv.settings.stage_one import stage_one_title

LOSSES = {"audio": "loss_clean", "face": "face_loss_clean"}
ROWS_AT_ONCE = 256  # of faces, some 6 kB each


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
        """Names of the systems that no speaker label was used for, baselines first."""
        return systems(self.settings.rounds, self.settings.baselines) + self.large_margin

    @property
    def large_margin(self) -> list[str]:
        """The system that was tuned on the last pseudo labels, where there is one."""
        return [LARGE_MARGIN] if self.settings.large_margin.enabled else []

    @property
    def finetuned(self) -> list[str]:
        """Names of those that were tuned on speaker labels."""
        return finetuned(self.settings.finetune.starts, self.settings.finetune.percent)

    @property
    def trained(self) -> list[str]:
        """Names of stage I's system and of the rounds, in order."""
        return systems(self.settings.rounds, baselines=False)

    @property
    def stage_one(self) -> str:
        """What `iter_0` is called."""
        return stage_one_title(self.settings)

    def title(self, system: str) -> str:
        """What a system is called in tables and figures."""
        return title(system, self.stage_one)

    def start_title(self, start: str) -> str:
        """What the encoder that a fine-tuning starts from is called."""
        return start_title(start, self.stage_one)

    @property
    def audio_visual(self) -> bool:
        """Whether the rounds are trained on faces, too."""
        return self.settings.modality == "audio_visual"

    def metrics(self) -> pd.DataFrame | None:
        """A row per system, trial list and norm; only of those that the experiment has, for names become paths of score files."""
        table = optional_table(self.folder / "metrics.parquet")
        named = [*self.systems, *self.finetuned]
        rows = None if table is None else table[table["system"].isin(named) & table["trials"].isin(list(self.settings.trials))]
        return None if rows is None or rows.empty else rows

    def comparisons(self) -> pd.DataFrame | None:
        """A row per pair of systems, trial list, norm and measure."""
        return optional_table(self.folder / "comparisons.parquet")

    def conditions(self) -> pd.DataFrame | None:
        """A row per system, trial list, norm and value of a condition."""
        return optional_table(self.folder / "conditions.parquet")

    def calibration_doubts(self, system: str) -> str:
        """Reasons to doubt a system's log-likelihood ratios, divided by semicolons."""
        path = self.folder / system / "calibration.parquet"
        return read_calibration(path).doubts if path.is_file() else ""

    def scores(self, system: str, trials: str, norm: str) -> tuple[np.ndarray, np.ndarray] | None:
        """A system's scores [N], and which of them are of targets, [N] bool."""
        table = optional_table(self.folder / system / "scores" / f"{trials}.parquet", ("target", norm))
        return None if table is None else (table[norm].to_numpy(), table["target"].to_numpy())

    def det_band(self, system: str, trials: str, norm: str) -> pd.DataFrame | None:
        """The interval of a system's miss rate, by false-alarm rate."""
        table = optional_table(self.folder / "det_bands.parquet")
        rows = None if table is None else table[(table["system"] == system) & (table["trials"] == trials) & (table["norm"] == norm)]
        return None if rows is None or rows.empty else rows

    def history(self, system: str) -> pd.DataFrame | None:
        """A row per epoch."""
        return optional_table(self.folder / system / "history.parquet")

    def gate(self, system: str, modality: str) -> pd.DataFrame | None:
        """A row per epoch on the gate of `audio` or `face`: threshold, mixture, fractions."""
        table = optional_table(self.folder / system / "gate.parquet")
        rows = None if table is None else table[table["modality"] == modality]
        return None if rows is None or rows.empty else rows

    def clean_losses(self, system: str, modality: str) -> np.ndarray | None:
        """[N] clean losses of `audio` or `face` in the last epoch.

        Without those that are not finite: an utterance may have no face, and a training that went wrong has a page, too.
        """
        table, column = optional_table(self.folder / system / "losses.parquet"), LOSSES[modality]
        return None if table is None or column not in table else table.loc[np.isfinite(table[column]), column].to_numpy()

    def labels(self, system: str) -> np.ndarray | None:
        """[N] pseudo labels."""
        table = self._labels(system, ("label",))
        return None if table is None else table["label"].to_numpy()

    def labelled(self, system: str) -> pd.DataFrame | None:
        """The pseudo label of each `utterance`."""
        return self._labels(system, ("utterance", "label"))

    def _labels(self, system: str, columns: tuple[str, ...]) -> pd.DataFrame | None:
        path = self.folder / system / "pseudo_labels.parquet"
        table = read_labels(path, columns) if path.exists() else None
        return None if table is None or table.empty else table

    def quality(self, system: str) -> pd.Series | None:
        """Sizes of the system's clusters and their agreement with speakers."""
        table = optional_table(self.folder / system / "cluster_quality.parquet")
        return None if table is None else table.iloc[0]

    def diagnosis(self, system: str) -> pd.Series | None:
        """Measures of the system's quality without labels."""
        table = optional_table(self.folder / system / "diagnosis.parquet")
        return None if table is None else table.iloc[0]

    def modality_quality(self, system: str) -> pd.DataFrame | None:
        """How clusters of voices alone, of faces alone and of both agree with speakers: a row each."""
        return optional_table(self.folder / system / "modality_quality.parquet")

    def error_curve(self, system: str, trials: str, norm: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Miss and false-alarm rates of a system's scores."""
        found = self.scores(system, trials, norm)
        return None if found is None else operating_points(*found)

    def manifest(self, corpus: str) -> pd.DataFrame | None:
        """A row per utterance of a corpus, rejected ones included."""
        columns = ("path", "session", "num_samples", "status", "reason")
        return optional_table(self.folder / "data" / corpus / "manifest.parquet", columns)

    def left_out(self, corpus: str) -> Counter[str]:
        """How many files of a corpus's folders have an ending that is not read, by ending."""
        table = optional_table(self.folder / "data" / corpus / "left_out.parquet", ("ending", "files"))
        return Counter() if table is None else Counter(dict(zip(table["ending"], table["files"].tolist(), strict=True)))

    def face_manifest(self) -> pd.DataFrame | None:
        """A row per utterance of the training corpus: the faces found in its video."""
        columns = ("utterance", "path", "frames", "detected", "faces", "status", "reason")
        return optional_table(self.folder / "data" / self.settings.train_corpus / "face_manifest.parquet", columns)

    def first_faces(self, utterances: Collection[str]) -> dict[str, bytes | None]:
        """The image of the first face of each of `utterances` of the training corpus; those without a face are left out."""
        path = self.folder / "data" / self.settings.train_corpus / "faces.parquet"
        return first_faces(path, utterances) if path.exists() else {}

    def speakers(self, corpus: str) -> int | None:
        """How many speakers a corpus has, where they are known."""
        table = optional_table(self.folder / "data" / corpus / "speakers.parquet", ("speaker",))
        return None if table is None else int(table["speaker"].nunique())

    def provenance(self, system: str) -> dict[str, Any] | None:
        """Where a model came from.

        Raises:
            InputError: its file is damaged, or says nothing of the kind.
        """
        path = self.folder / system / "model.pt"
        if not path.exists():
            return None
        content = load_torch(path, mmap=True)
        found = content.get("provenance") if isinstance(content, dict) else None
        if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
            raise InputError(f"{path} is no model of this project")
        return found


def first_faces(path: Path, utterances: Collection[str]) -> dict[str, bytes | None]:
    """The `image` of the first row of each of `utterances`; those without a row are left out.

    The file may be larger than any memory, and is sorted by utterance: only row groups that can hold one of `utterances` are
    read, a few rows at a time.

    Raises:
        InputError: the file is damaged or lacks a column.
    """
    found: dict[str, bytes | None] = {}
    try:
        file = pq.ParquetFile(path, memory_map=True)
        for group in range(file.num_row_groups):
            wanted = _within(file.metadata.row_group(group), set(utterances) - found.keys())
            if wanted:
                found |= _first_images(file, group, wanted)
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}): delete it and run the stage that makes it again") from None
    return found


def _within(group: pq.RowGroupMetaData, utterances: set[str]) -> set[str]:
    """Those of `utterances` that a row group can hold, by its first and its last one; all where these are not known."""
    for index in range(group.num_columns):
        column = group.column(index)
        if column.path_in_schema == "utterance" and column.statistics is not None and column.statistics.has_min_max:
            first, last = column.statistics.min, column.statistics.max
            return {utterance for utterance in utterances if first <= utterance <= last}
    return utterances


def _first_images(file: pq.ParquetFile, group: int, utterances: set[str]) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    for rows in file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=["utterance", "image"]):
        for place, utterance in enumerate(rows["utterance"].to_pylist()):
            if utterance in utterances and utterance not in found:
                found[utterance] = rows["image"][place].as_py()
        if len(found) == len(utterances):
            break
    return found
