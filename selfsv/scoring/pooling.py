"""Several seeds of one configuration as one figure: how far talkers and seeds together may have moved it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from selfsv.scoring.intervals import SEED, Interval, interval
from selfsv.scoring.measures import Evaluation


class Pooled(NamedTuple):
    """K figures of R runs of one configuration on one list: their means. All are rates, or shares of a cost: from 0 to 1."""

    figures: np.ndarray  # [K]
    draws: np.ndarray  # [draws, K]
    runs: int
    units: int

    def interval(self, column: int) -> Interval:
        """The 95 % interval of one figure, of a run with any seed on any talkers. With one run, of this seed alone."""
        return interval(float(self.figures[column]), self.draws[:, column].clip(0, 1), self.units)

    def difference(self, other: "Pooled", column: int) -> tuple[float, Interval]:
        """One figure less that of another configuration, and its interval: the same talkers in each draw, other seeds."""
        difference = float(self.figures[column] - other.figures[column])
        return difference, interval(difference, (self.draws[:, column] - other.draws[:, column]).clip(-1, 1), self.units)


def pooled(evaluations: Sequence[Evaluation], number: int = 0) -> Pooled:
    """Runs of one configuration with different seeds, as one.

    The figure is the mean of the runs. Each draw resamples the talkers, the same ones for all runs, and takes the mean of the runs
    on them. To that it adds what chance in the seeds does to a mean of R runs: the deviation between the runs' figures on the whole
    list, over the square root of R, times a random number of Student's t distribution with R - 1 degrees of freedom (Student 1908).
    With two runs that number is often large, as two runs say little about how far a third may be off.

    Args:
        evaluations: R runs on one list, with the same draws.
        number: of the configuration among those that are compared, whose seeds are drawn independently.
    """
    figures = np.array([evaluation.figures for evaluation in evaluations])
    draws = np.mean([evaluation.draws for evaluation in evaluations], axis=0)
    runs = len(evaluations)
    if runs > 1:
        chance = np.random.default_rng([SEED, number]).standard_t(runs - 1, size=len(draws))
        draws = draws + np.outer(chance, figures.std(axis=0, ddof=1) / np.sqrt(runs))
    return Pooled(figures.mean(axis=0), draws, runs, evaluations[0].units)


def paired_difference(runs: Sequence[Evaluation], others: Sequence[Evaluation], column: int) -> tuple[float, Interval]:
    """The mean of R runs' figure less that of the runs that each of them goes on from, and its interval: the same talkers in each draw.

    As `pooled`, with the differences in place of the figures: what chance made of a run's start is in both, and cancels out.

    Args:
        runs: R runs on one list, with the same draws.
        others: their starts, in the same order.
    """
    figures = np.array([run.figures[column] - other.figures[column] for run, other in zip(runs, others, strict=True)])
    draws = np.mean([run.draws[:, column] - other.draws[:, column] for run, other in zip(runs, others, strict=True)], axis=0)
    if len(figures) > 1:
        chance = np.random.default_rng(SEED).standard_t(len(figures) - 1, size=len(draws))
        draws = draws + chance * figures.std(ddof=1) / np.sqrt(len(figures))
    return float(figures.mean()), interval(float(figures.mean()), draws.clip(-1, 1), runs[0].units)
