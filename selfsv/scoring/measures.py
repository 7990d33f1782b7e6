"""The figures that every system gets on a trial list, each of them on the whole list and in every draw of the bootstrap."""

from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from selfsv.scoring.error_rates import equal_error_rate, min_dcf, operating_points
from selfsv.scoring.intervals import DRAWS, Interval, Statistic, Units, bootstrap, interval

SECOND_PRIOR = 0.05  # of a target trial, the other one of VoxSRC and NIST SRE
MEASURES = ("eer", "min_dcf", "min_dcf_p05")  # columns of metrics.parquet
# Where the interval of a DET curve is looked up: false-alarm rates at equal distances on its axis.
CURVE_GRID = norm.cdf(np.linspace(norm.ppf(1e-4), norm.ppf(0.75), 60))


class Evaluation(NamedTuple):
    """`MEASURES` and, with a curve, the miss rate at each point of `CURVE_GRID`: [K] figures, K = 3 or 63."""

    figures: np.ndarray  # [K] on the whole list
    draws: np.ndarray  # [draws, K] of each draw
    units: int  # how many were resampled

    def interval(self, column: int) -> Interval:
        """The 95 % interval of one figure."""
        return interval(float(self.figures[column]), self.draws[:, column], self.units)

    def difference(self, other: "Evaluation", column: int) -> tuple[float, Interval]:
        """One figure less that of a system on the same list, and the interval of the difference in the same draws."""
        difference = float(self.figures[column] - other.figures[column])
        return difference, interval(difference, self.draws[:, column] - other.draws[:, column], self.units)


def measures(p_target: float, c_miss: float = 1.0, c_false_alarm: float = 1.0) -> Statistic:
    """A function from miss and false-alarm rates to `MEASURES`: EER, minDCF at `p_target` and at 0.05, with the same costs."""

    def of(miss: np.ndarray, false_alarm: np.ndarray) -> np.ndarray:
        costs = (min_dcf(miss, false_alarm, prior, c_miss, c_false_alarm) for prior in (p_target, SECOND_PRIOR))
        return np.array([equal_error_rate(miss, false_alarm), *costs])

    return of


def evaluate(
    scores: np.ndarray,
    target: np.ndarray,
    units: Units,
    statistic: Statistic,
    draws: int = DRAWS,
    threads: int = 0,
    curve: bool = True,
) -> Evaluation:
    """`statistic` and the DET curve of N scored trials, with the bootstrap's draws; arguments and errors as of `bootstrap`."""

    def with_curve(miss: np.ndarray, false_alarm: np.ndarray) -> np.ndarray:
        return np.append(statistic(miss, false_alarm), np.interp(CURVE_GRID, false_alarm, miss))

    wanted = with_curve if curve else statistic
    values = bootstrap(scores, target, units, wanted, draws, threads=threads)
    return Evaluation(wanted(*operating_points(scores, target)), values, units.present)
