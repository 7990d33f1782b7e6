"""Intervals of error rates by resampling speakers: trials that share a speaker are not independent, so trials are not resampled.

The vertex bootstrap of Snijders and Borgatti (1999), in the form for error rates of Fogliato, Patil and Perona (arXiv 2306.01198):
a draw takes as many speakers as the list has, with replacement. A trial of two speakers counts as often as the product of their
numbers in the draw says; a trial within one speaker as often as that speaker was drawn. Each draw is one weighted pass over trials
that were sorted once, and gives an error rate. The interval is Efron's bias-corrected percentile interval of these (Efron and
Tibshirani 1993, 14.3 without acceleration): minDCF takes the best threshold of each draw, so plain percentiles come out too low.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.stats import norm

from selfsv.scoring.error_rates import check_scores

DRAWS = 1000
LEVEL = 0.95
SEED = 1  # the same draws for every system and experiment, so that differences are paired
FEWEST_UNITS = 5  # below, a draw repeats one of a handful of lists, and an interval would look narrower than it is
FEWEST_DRAWS = 0.5  # the share of the draws that must hold both kinds of trials

Kind = Literal["speakers", "sessions", "recordings"]
# Miss and false-alarm rates at [P] operating points to K figures.
Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Units:
    """The units that are resampled on one trial list: its speakers or, where these are unknown, its sessions or its recordings."""

    kind: Kind
    count: int  # of different units in the list
    enroll: np.ndarray  # [N] int64 below `count`, the unit of each trial's enrolment side
    test: np.ndarray  # [N] int64

    def subset(self, rows: np.ndarray) -> "Units":
        """The units of some trials, [N] bool. Draws stay those of the whole list."""
        return Units(self.kind, self.count, self.enroll[rows], self.test[rows])

    @property
    def present(self) -> int:
        """The number of units in these trials: all, but for a subset."""
        return len(np.union1d(self.enroll, self.test))


class Interval(NamedTuple):
    """A 95 % interval; NaN where nothing can be said."""

    low: float
    high: float


def draw_counts(units: int, draw: int, seed: int = SEED) -> np.ndarray:
    """The count of each unit in the draw of this number, [units] int64 with the sum `units`. It depends on nothing else."""
    generator = np.random.default_rng([seed, draw])
    return np.bincount(generator.integers(units, size=units), minlength=units)


def bootstrap(
    scores: np.ndarray, target: np.ndarray, units: Units, statistic: Statistic, draws: int = DRAWS, seed: int = SEED, threads: int = 0
) -> np.ndarray:
    """`statistic` of each draw, [draws, K] float64; a row of NaN where a draw holds no target or no non-target trial.

    Memory: about 100 bytes a trial with two threads. The result does not depend on their number.

    Args:
        scores: [N], higher for the same speaker.
        target: [N] bool.
        units: of these N trials. Systems scored on one list are compared draw by draw if all have the same units.
        threads: 0: one per core.

    Raises:
        InputError: a score is not finite, or there are only targets or only non-targets.
    """
    check_scores(scores, target)
    ranked = _Ranked.of(scores, target, units)

    def of_draw(draw: int) -> np.ndarray | None:
        points = ranked.rates(draw_counts(units.count, draw, seed))
        return None if points is None else np.asarray(statistic(*points), dtype=np.float64)

    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        found = list(pool.map(of_draw, range(draws)))
    size = next((len(values) for values in found if values is not None), 1)
    return np.array([np.full(size, np.nan) if values is None else values for values in found])


def interval(figure: float, values: np.ndarray, units: int) -> Interval:
    """The 95 % bias-corrected percentile interval of a figure.

    Args:
        figure: on the whole list.
        values: [draws], the figure of each draw; draws without one (NaN) are left out.
        units: how many units were resampled.

    Returns:
        NaN twice where resampling gives no interval: with fewer than 5 units, where more than half of the draws have no value, or where all
        have the same one, as with a list without any error.
    """
    valid = values[np.isfinite(values)]
    if units < FEWEST_UNITS or len(valid) < max(1, FEWEST_DRAWS * len(values)) or np.ptp(valid) == 0:
        return Interval(np.nan, np.nan)
    below = np.mean(valid < figure) + np.mean(valid == figure) / 2
    bias = norm.ppf(np.clip(below, 0.5 / len(valid), 1 - 0.5 / len(valid)))
    levels = norm.cdf(2 * bias + norm.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    low, high = np.quantile(valid, levels)
    return Interval(float(low), float(high))


@dataclass(frozen=True)
class _Ranked:
    """Trials from the highest score to the lowest, in R runs of one kind: along a run the error curve is straight, whatever the weights."""

    first: np.ndarray  # [N] the unit of one side
    second: np.ndarray  # [N] that of the other, or a unit that always counts once where both sides are the same
    starts: np.ndarray  # [R] where each run begins
    of_targets: np.ndarray  # [R] bool
    corners: np.ndarray  # [P] how many runs each threshold accepts, from none to all

    @classmethod
    def of(cls, scores: np.ndarray, target: np.ndarray, units: Units) -> "_Ranked":
        order = np.lexsort([target, -np.asarray(scores, dtype=np.float64)])  # of equal scores non-targets first
        scores, target = scores[order], np.asarray(target, dtype=bool)[order]
        changes = target[1:] != target[:-1]
        tied = scores[1:] == scores[:-1]  # no threshold comes between: such a score has one corner, after all of its trials
        score = np.append(0, np.cumsum(~tied))
        mixed = np.isin(score, score[1:][changes & tied])
        borders = changes | (~tied & (mixed[1:] | mixed[:-1]))
        starts = np.append(0, np.flatnonzero(borders) + 1)
        corners = np.flatnonzero(np.concatenate([[True], ~tied[starts[1:] - 1], [True]]))
        second = np.where(units.enroll == units.test, units.count, units.test)
        return cls(units.enroll[order], second[order], starts, target[starts], corners)

    def rates(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Weighted miss and false-alarm rates as in `operating_points`, [P] each; None where one kind of trial has no weight."""
        weights = np.append(counts, 1)  # whole numbers: their sums are exact
        trials = np.take(weights, self.first)
        trials *= np.take(weights, self.second)
        runs = np.add.reduceat(trials, self.starts)
        hits, false_alarms = (
            np.append(0, np.cumsum(np.where(kind, runs, 0)))[self.corners] for kind in (self.of_targets, ~self.of_targets)
        )
        if not hits[-1] or not false_alarms[-1]:
            return None
        return 1 - hits / hits[-1], false_alarms / false_alarms[-1]
