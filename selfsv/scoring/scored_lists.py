"""One trial list: its trials, every system's scores, the units that are resampled, and the conditions of each trial."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from selfsv.artifacts import read_table
from selfsv.data.piece_speakers import with_pieces
from selfsv.errors import InputError
from selfsv.scoring.conditions import conditions_of, read_speakers_table
from selfsv.scoring.intervals import Units
from selfsv.scoring.systems import order
from selfsv.scoring.units import units_of

NORMS = ("cosine", "snorm")
CALIBRATED = ("llr",)  # natural logarithms of likelihood ratios, where a score file has them
TRIAL_COLUMNS = ["enroll", "test", "target"]


class Known(NamedTuple):
    """Tables about the utterances of a corpus; None where there is none."""

    manifest: pd.DataFrame | None = None  # utterance, session, num_samples
    speakers: pd.DataFrame | None = None  # utterance, speaker
    table: pd.DataFrame | None = None  # more about its speakers, as `read_speakers_table` gives it


class ScoredList(NamedTuple):
    """One trial list, scored by several systems."""

    name: str
    trials: pd.DataFrame  # enroll, test, target
    scores: dict[tuple[str, str], np.ndarray]  # [N] by system and norm, in their order
    units: Units
    conditions: dict[str, pd.Series]  # [N] by name


def by_list(paths: Iterable[Path]) -> list[tuple[str, list[Path]]]:
    """Score files `{system}/scores/{trials}.parquet` by trial list: lists in the order given, systems in that of a reader's interest."""
    names = list(dict.fromkeys(path.stem for path in paths))
    ordered = sorted(paths, key=lambda path: (names.index(path.stem), order(path.parts[-3])))
    return [(name, list(files)) for name, files in groupby(ordered, key=lambda path: path.stem)]


def known_about(corpus: str, manifests: Iterable[Path], speakers: Iterable[Path], tables: Mapping[str, str]) -> Known:
    """Read `data/{corpus}/manifest.parquet`, `speakers.parquet` and a table of speakers.

    Args:
        tables: the tables' files by corpus.

    Raises:
        InputError: a file cannot be read.
    """
    manifest = next((path for path in manifests if path.parent.name == corpus), None)
    known = next((path for path in speakers if path.parent.name == corpus), None)
    about = None if manifest is None else read_table(manifest, ["utterance", "session", "num_samples"])
    names = None if known is None else read_table(known, ["utterance", "speaker"])
    return Known(
        about,
        names if names is None or about is None else with_pieces(names, about["utterance"]),
        read_speakers_table(Path(tables[corpus])) if corpus in tables else None,
    )


def read_scored_list(paths: Sequence[Path], known: Known) -> ScoredList:
    """The score files `{system}/scores/{trials}.parquet` of one trial list.

    Raises:
        InputError: a file cannot be read, or holds other trials than the first.
    """
    first, scores = None, {}
    for path in paths:
        table = read_scores(path)
        scores.update({(path.parts[-3], norm): table[norm].to_numpy() for norm in (*NORMS, *CALIBRATED) if norm in table})
        if first is None:
            first = table[TRIAL_COLUMNS]
        else:
            check_same_trials(first, table, paths[0], path)
    assert first is not None
    units = units_of(first["enroll"], first["test"], known.speakers, known.manifest)
    return ScoredList(paths[0].stem, first, scores, units, conditions_of(first, *known))


def read_scores(path: Path) -> pd.DataFrame:
    """The score file at `path`: `enroll`, `test`, `target`, `cosine`, `snorm` and, where scores were calibrated, `llr`.

    Raises:
        InputError: it is missing, damaged, or lacks one of these.
    """
    table = read_table(path)
    if missing := [column for column in (*TRIAL_COLUMNS, *NORMS) if column not in table]:
        raise InputError(f"{path} has no column `{missing[0]}`: delete it and run the stage that makes it again")
    return table


def check_same_trials(first: pd.DataFrame, second: pd.DataFrame, first_name: object, second_name: object) -> None:
    """Raise an `InputError` that names the first trial in which two score files differ, if they do."""
    if len(first) != len(second):
        raise InputError(
            f"{first_name} holds {len(first):,} trials and {second_name} {len(second):,}: "
            "systems are compared on one trial list; score both on the same"
        )
    unlike = (first[TRIAL_COLUMNS] != second[TRIAL_COLUMNS]).any(axis=1).to_numpy()
    if unlike.any():
        row = int(unlike.argmax())
        one, other = (" ".join(map(str, table.loc[row, TRIAL_COLUMNS])) for table in (first, second))
        raise InputError(
            f"{first_name} and {second_name} hold different trials, first in row {row + 1} ({one}; {other}): "
            "systems are compared on one trial list; score both on the same"
        )
