"""All systems on one trial list: their figures with intervals, the differences between them, and the bands of their DET curves."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from selfsv.artifacts import read_table
from selfsv.errors import InputError
from selfsv.scoring.error_rates import operating_points
from selfsv.scoring.intervals import DRAWS, Statistic, Units
from selfsv.scoring.measures import CURVE_GRID, MEASURES, Evaluation, evaluate
from selfsv.scoring.systems import iteration
from selfsv.scoring.units import units_of

NORMS = ("cosine", "snorm")
TRIAL_COLUMNS = ["enroll", "test", "target"]
Row = dict[str, Any]


class Known(NamedTuple):
    """What is known about the utterances of a corpus; None: nothing."""

    manifest: pd.DataFrame | None = None  # utterance, session, num_samples
    speakers: pd.DataFrame | None = None  # utterance, speaker


class ScoredList(NamedTuple):
    """One trial list, scored by several systems."""

    name: str
    trials: pd.DataFrame  # enroll, test, target
    scores: dict[tuple[str, str], np.ndarray]  # [N] by system and norm, in their order
    units: Units


def read_scored_list(paths: Sequence[Path], known: Known) -> ScoredList:
    """The score files `{system}/scores/{trials}.parquet` of one trial list.

    Raises:
        InputError: a file cannot be read, or holds other trials than the first.
    """
    first, scores = None, {}
    for path in paths:
        table = read_table(path, [*TRIAL_COLUMNS, *NORMS])
        scores.update({(path.parts[-3], norm): table[norm].to_numpy() for norm in NORMS})
        if first is None:
            first = table[TRIAL_COLUMNS]
        else:
            check_same_trials(first, table, paths[0], path)
    assert first is not None
    return ScoredList(paths[0].stem, first, scores, units_of(first["enroll"], first["test"], known.speakers, known.manifest))


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


def evaluations(scored: ScoredList, statistic: Statistic, draws: int = DRAWS, threads: int = 0) -> dict[tuple[str, str], Evaluation]:
    """Every system and norm of the list.

    Raises:
        InputError: scores have no error rates; the message names the system.
    """
    found = {}
    target = scored.trials["target"].to_numpy()
    for (system, norm), scores in scored.scores.items():
        try:
            found[system, norm] = evaluate(scores, target, scored.units, statistic, draws, threads)
        except InputError as error:
            raise InputError(f"{system} on {scored.name}, {norm}: {error}") from None
    return found


def metric_rows(scored: ScoredList, found: Mapping[tuple[str, str], Evaluation]) -> list[Row]:
    """Rows of `metrics.parquet`."""
    target = scored.trials["target"]
    counts = {"targets": int(target.sum()), "nontargets": int((~target).sum())}
    rows = []
    for (system, norm), evaluation in found.items():
        figures = dict(zip(MEASURES, evaluation.figures.tolist(), strict=False))
        ends = {}
        for column, measure in enumerate(MEASURES):
            ends[f"{measure}_low"], ends[f"{measure}_high"] = evaluation.interval(column)
        row = {"system": system, "iteration": iteration(system), "trials": scored.name, "norm": norm}
        before = {"eer": figures.pop("eer"), "min_dcf": figures.pop("min_dcf")}
        rows.append({**row, **before, **counts, **figures, **ends, "resampled": scored.units.kind, "units": scored.units.count})
    return rows


def measured(path: Path, statistic: Statistic) -> list[Row]:
    """The figures of one score file `{system}/scores/{trials}.parquet`, a row per norm, without intervals.

    Raises:
        InputError: the scores have no error rates; the message names the file.
    """
    scores = read_table(path, ["target", *NORMS])
    rows = []
    for norm in NORMS:
        try:
            figures = statistic(*operating_points(scores[norm].to_numpy(), scores["target"].to_numpy()))
        except InputError as error:
            raise InputError(f"{path}, {norm}: {error}") from None
        row = {"system": path.parts[-3], "iteration": iteration(path.parts[-3]), "trials": path.stem, "norm": norm}
        rows.append({**row, **dict(zip(MEASURES, figures.tolist(), strict=True))})
    return rows


def comparison_rows(scored: ScoredList, found: Mapping[tuple[str, str], Evaluation]) -> list[Row]:
    """Rows of `comparisons.parquet`: each pair of systems, by norm and measure; a negative difference is in favour of `system_a`.

    It is shown where its interval leaves 0 out.
    """
    rows = []
    systems = list(dict.fromkeys(system for system, _ in found))
    for norm in NORMS:
        for reference, system in combinations(systems, 2):
            for column, measure in enumerate(MEASURES):
                difference, (low, high) = found[system, norm].difference(found[reference, norm], column)
                row = {"system_a": system, "system_b": reference, "trials": scored.name, "norm": norm, "measure": measure}
                rows.append({**row, "difference": difference, "low": low, "high": high, "shown": bool(low > 0 or high < 0)})
    return rows


def curve_rows(scored: ScoredList, found: Mapping[tuple[str, str], Evaluation]) -> list[Row]:
    """Rows of `det_bands.parquet`: the interval of the miss rate at each false-alarm rate of a grid, where there is one."""
    rows = []
    for (system, norm), evaluation in found.items():
        for place, false_alarm in enumerate(CURVE_GRID.tolist()):
            low, high = evaluation.interval(len(MEASURES) + place)
            if high >= low:
                row = {"system": system, "trials": scored.name, "norm": norm}
                rows.append({**row, "false_alarm": false_alarm, "miss_low": low, "miss_high": high})
    return rows
