"""All systems on one trial list: their figures with intervals, the differences between them, and the bands of their DET curves."""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from selfsv.artifacts import read_table
from selfsv.errors import InputError
from selfsv.scoring.conditions import SESSION
from selfsv.scoring.error_rates import operating_points
from selfsv.scoring.intervals import DRAWS, Statistic
from selfsv.scoring.likelihood_ratios import actual_dcf, cllr, min_cllr
from selfsv.scoring.measures import CURVE_GRID, MEASURES, SECOND_PRIOR, Evaluation, evaluate, measures
from selfsv.scoring.pooling import Pooled
from selfsv.scoring.scored_lists import CALIBRATED, NORMS, ScoredList
from selfsv.scoring.systems import BASELINES, iteration
from selfsv.settings.scoring import MetricSettings

FEWEST_TRIALS = 20  # of each kind, for a row of conditions.parquet
Row = dict[str, Any]


def _typed(texts: str, numbers: str, figures: str) -> dict[str, Any]:
    """Columns and their types, from their names."""
    return dict.fromkeys(texts.split(), "str") | dict.fromkeys(numbers.split(), "int64") | dict.fromkeys(figures.split(), "float64")


_SYSTEM = {"system": "str", "iteration": "Int64", "trials": "str", "norm": "str"}
_ENDS = " ".join(f"{measure} {measure}_low {measure}_high" for measure in MEASURES)
TYPES: list[dict[str, Any]] = [
    _SYSTEM
    | _typed("", "", "eer min_dcf")
    | _typed("", "targets nontargets", _ENDS)
    | _typed("resampled", "units", "min_cllr cllr act_dcf act_dcf_p05"),
    _typed("system_a system_b trials norm measure", "", "difference low high") | {"shown": "bool"},
    _SYSTEM | _typed("condition value", "targets nontargets", _ENDS) | _typed("resampled", "units", ""),
    _typed("system trials norm", "", "false_alarm miss_low miss_high"),
]


class Tables:
    """The tables of the stage `metrics`, filled list by list.

    Args:
        point: the operating point of minDCF.
        threads: 0: one per core.
    """

    def __init__(self, point: MetricSettings, threads: int = 0, draws: int = DRAWS):
        self._point, self._threads, self._draws = point, threads, draws
        self._rows: tuple[list[Row], ...] = ([], [], [], [])

    def add(self, scored: ScoredList) -> None:
        """Evaluate all systems on one list.

        Raises:
            InputError: scores have no error rates; the message names the system.
        """
        statistic = measures(self._point.p_target, self._point.c_miss, self._point.c_false_alarm)
        found = evaluations(scored, statistic, self._draws, self._threads)
        rows = (
            metric_rows(scored, found, self._point),
            comparison_rows(scored, found),
            condition_rows(scored, statistic, self._draws, self._threads),
            curve_rows(scored, found),
        )
        for table, more in zip(self._rows, rows, strict=True):
            table += more

    def frames(self) -> list[pd.DataFrame]:
        """`metrics`, `comparisons`, `conditions` and `det_bands`; those without rows have their columns, too."""
        return [pd.DataFrame(rows, columns=list(types)).astype(types) for rows, types in zip(self._rows, TYPES, strict=True)]


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


def metric_rows(scored: ScoredList, found: Mapping[tuple[str, str], Evaluation], point: MetricSettings) -> list[Row]:
    """Rows of `metrics.parquet`."""
    target = scored.trials["target"]
    counts = {"targets": int(target.sum()), "nontargets": int((~target).sum())}
    rows = []
    for (system, norm), evaluation in found.items():
        row = {"system": system, "iteration": iteration(system), "trials": scored.name, "norm": norm}
        figures = measured_with_ends(evaluation)
        before = {"eer": figures.pop("eer"), "min_dcf": figures.pop("min_dcf")}
        ratios = likelihood_ratio_figures(scored.scores[system, norm], target.to_numpy(), norm, point)
        resampled = {"resampled": scored.units.kind, "units": scored.units.count}
        rows.append({**row, **before, **counts, **figures, **resampled, **ratios})
    return rows


def likelihood_ratio_figures(scores: np.ndarray, target: np.ndarray, norm: str, point: MetricSettings) -> Row:
    """`min_cllr` of any scores; `cllr` and the actual costs of calibrated ones, null of others: raw scores are no likelihood ratios."""
    costs = point.c_miss, point.c_false_alarm
    calibrated = norm in CALIBRATED
    return {
        "min_cllr": min_cllr(scores, target),
        "cllr": cllr(scores, target) if calibrated else np.nan,
        "act_dcf": actual_dcf(scores, target, point.p_target, *costs) if calibrated else np.nan,
        "act_dcf_p05": actual_dcf(scores, target, SECOND_PRIOR, *costs) if calibrated else np.nan,
    }


def condition_rows(scored: ScoredList, statistic: Statistic, draws: int = DRAWS, threads: int = 0) -> list[Row]:
    """Rows of `conditions.parquet`: the measures of the trials made under one condition, for every system that is no baseline.

    For `session` the targets are of that condition and the non-targets all: different speakers seldom share a session. Values with
    fewer than 20 targets or non-targets are left out, and conditions with one value.
    """
    rows = []
    for condition, column in scored.conditions.items():
        subsets = condition_subsets(condition, column, scored.trials["target"].to_numpy())
        for value, chosen in subsets.items() if len(subsets) > 1 else ():
            for (system, norm), scores in scored.scores.items():
                if system not in BASELINES and norm in NORMS:
                    target, units = scored.trials["target"].to_numpy()[chosen], scored.units.subset(chosen)
                    found = evaluate(scores[chosen], target, units, statistic, draws, threads, curve=False)
                    row = {"system": system, "iteration": iteration(system), "trials": scored.name, "norm": norm}
                    row |= {"condition": condition, "value": value, "targets": int(target.sum()), "nontargets": int((~target).sum())}
                    rows.append({**row, **measured_with_ends(found), "resampled": units.kind, "units": units.present})
    return rows


def condition_subsets(condition: str, values: pd.Series, target: np.ndarray) -> dict[str, np.ndarray]:
    """The trials of each value of a condition, [N] bool; the most frequent first, but bands in their order."""
    found = {}
    order = values.cat.categories if isinstance(values.dtype, pd.CategoricalDtype) else values.value_counts().index
    for value in order:
        chosen = (values == value).to_numpy()
        chosen = chosen | ~target if condition == SESSION else chosen
        if min(np.count_nonzero(chosen & target), np.count_nonzero(chosen & ~target)) >= FEWEST_TRIALS:
            found[str(value)] = chosen
    return found


def measured_with_ends(found: Evaluation | Pooled) -> Row:
    """The figures of `MEASURES`, each with the ends of its interval."""
    row: Row = {}
    for column, measure in enumerate(MEASURES):
        low, high = found.interval(column)
        row |= {measure: float(found.figures[column]), f"{measure}_low": low, f"{measure}_high": high}
    return row


def comparison_rows(scored: ScoredList, found: Mapping[tuple[str, str], Evaluation]) -> list[Row]:
    """Rows of `comparisons.parquet`: each pair of systems, by norm and measure."""
    by_norm = {norm: {system: evaluation for (system, other), evaluation in found.items() if other == norm} for norm in NORMS}
    return [row for norm, systems in by_norm.items() for row in difference_rows(systems, scored.name, norm)]


Compared = TypeVar("Compared", Evaluation, Pooled)


def difference_rows(found: Mapping[str, Compared], trials: str, norm: str) -> list[Row]:
    """A row per pair of systems and measure; a negative difference is in favour of `system_a`.

    It is shown where its interval leaves 0 out.
    """
    rows = []
    for reference, system in combinations(found, 2):
        for column, measure in enumerate(MEASURES):
            difference, (low, high) = found[system].difference(found[reference], column)
            row = {"system_a": system, "system_b": reference, "trials": trials, "norm": norm, "measure": measure}
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
