"""The conditions of trials: lengths, sessions, and the columns of a table about the speakers."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from selfsv.errors import InputError

SAMPLE_RATE = 16_000
DURATION_BANDS = (2.0, 4.0, 6.0, 10.0, 20.0)  # seconds, of the shorter side of a trial
DURATION, SESSION = "duration of the shorter side", "session"
LONGEST_HEADER = 1 << 16  # characters


def conditions_of(
    trials: pd.DataFrame, manifest: pd.DataFrame | None, speakers: pd.DataFrame | None, table: pd.DataFrame | None = None
) -> dict[str, pd.Series]:
    """The value of each condition in each of N trials, [N] text; missing where it is unknown, or the two sides have different ones.

    Durations are those of the shorter side. The session is the same or another one. A column of `table` (gender, say) has a value
    where both sides share it.

    Args:
        trials: columns `enroll`, `test`.
        manifest: columns `utterance`, `session`, `num_samples`; None: not known.
        speakers: columns `utterance`, `speaker`; None: not known.
        table: a row per speaker or utterance, as `read_speakers_table` gives it.

    Raises:
        InputError: the table is about other speakers.
    """
    sides = trials["enroll"], trials["test"]
    found: dict[str, pd.Series] = {}
    if manifest is not None:
        of = manifest.drop_duplicates("utterance").set_index("utterance")
        lengths = [side.map(of["num_samples"]) for side in sides]
        found[DURATION] = _banded(lengths[0].combine(lengths[1], min) / SAMPLE_RATE)
        sessions = [side.map(of["session"]) for side in sides]
        same = (sessions[0] == sessions[1]).map({True: "the same", False: "another"})
        found[SESSION] = same.where(sessions[0].notna() & sessions[1].notna())
    if table is not None:
        found |= _shared(sides, speakers, table)
    return found


def read_speakers_table(path: Path) -> pd.DataFrame:
    """A table about speakers, or utterances: its first column has their names, the others become conditions, all as text.

    VoxCeleb1's `vox1_meta.csv` is one (tabs between its columns). Columns with one value, or with a value of its own for most rows,
    are left out.

    Raises:
        InputError: the file is missing or no such table.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            header = file.readline(LONGEST_HEADER)
            file.seek(0)
            separator = next((mark for mark in "\t;," if mark in header), ",")
            table = pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False, skipinitialspace=True)
    except FileNotFoundError:
        raise InputError(f"the table of speakers {path} does not exist: correct `speakers_table`") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"the table of speakers {path} cannot be read as text with columns (UTF-8): {error}") from None
    if table.shape[1] < 2:
        raise InputError(f"the table of speakers {path} has one column: the first has their names, and at least one more is needed")
    table = table.rename(columns=str.strip)
    names, *columns = table.columns
    if repeated := table.loc[table[names].duplicated(), names].tolist():
        raise InputError(f"the table of speakers {path} has '{repeated[0][:60]}' twice: give each speaker one row")
    informative = [column for column in columns if 1 < table[column].nunique() <= len(table) / 2]
    return table[[names, *informative]].set_index(names).apply(lambda column: column.str.strip())


def _banded(seconds: pd.Series) -> pd.Series:
    first, *_, last = DURATION_BANDS
    labels = [f"under {first:g} s"]
    labels += [f"{low:g} to {high:g} s" for low, high in pairwise(DURATION_BANDS)]
    return pd.cut(seconds, [0, *DURATION_BANDS, np.inf], right=False, labels=[*labels, f"{last:g} s and more"])


def _shared(sides: tuple[pd.Series, pd.Series], speakers: pd.DataFrame | None, table: pd.DataFrame) -> dict[str, pd.Series]:
    """By column, the value that both sides of a trial have."""
    keys = sides
    if speakers is not None and not sides[0].isin(table.index).any():
        who = speakers.drop_duplicates("utterance").set_index("utterance")["speaker"]
        keys = (sides[0].map(who), sides[1].map(who))
    if not keys[0].isin(table.index).any():
        raise InputError(
            f"the table of speakers begins with '{table.index[0]}', which is none of the trials' speakers or utterances: "
            "its first column should have their names"
        )
    found = {}
    for column in table:
        one, other = (key.map(table[column]) for key in keys)
        found[str(column).lower()] = one.where((one == other) & (one != ""))
    return found
