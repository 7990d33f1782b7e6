"""Several seeds as one figure: a plain mean, and an interval that holds the truth as often as it says."""

import numpy as np
import pytest

from selfsv.scoring.intervals import interval
from selfsv.scoring.measures import Evaluation
from selfsv.scoring.pooling import paired_difference, pooled

TRUTH, TALKERS, SEEDS = 0.10, 0.02, 0.015  # a figure, and how far talkers and seeds move it


def runs_of(generator: np.random.Generator, number: int, talkers: float) -> list[Evaluation]:
    """Runs of one configuration on a list whose talkers happen to move every figure by `talkers`."""
    moved = generator.normal(scale=TALKERS, size=(800, 1))  # by other talkers, the same ones for all runs
    figures = TRUTH + talkers + generator.normal(scale=SEEDS, size=number)
    return [Evaluation(np.array([figure]), figure + moved, 40) for figure in figures]


def test_one_run_is_left_as_it_is():
    [run] = runs_of(np.random.default_rng(0), 1, 0.0)
    found = pooled([run])
    assert (found.figures, found.runs) == (run.figures, 1)
    assert found.interval(0) == interval(float(run.figures[0]), run.draws[:, 0], 40)


def test_the_figure_is_the_mean_and_runs_that_agree_add_nothing():
    run, *_ = runs_of(np.random.default_rng(0), 1, 0.0)
    found = pooled([run, run, run])
    np.testing.assert_allclose(found.figures, run.figures)
    np.testing.assert_allclose(found.draws, run.draws)


def test_two_runs_that_differ_do_not_lead_out_of_what_a_rate_can_be():
    one, other = (Evaluation(np.array([figure]), np.full((800, 1), figure), 40) for figure in (0.05, 0.25))
    low, high = pooled([one, other]).interval(0)
    assert low == 0 and 0.5 < high <= 1


@pytest.mark.parametrize("number", [2, 3, 8])
def test_the_interval_holds_the_truth_as_often_as_it_says(number):
    generator, held, alone = np.random.default_rng(number), 0, 0
    for _ in range(400):
        runs = runs_of(generator, number, generator.normal(scale=TALKERS))
        low, high = pooled(runs).interval(0)
        held += low <= TRUTH <= high
        low, high = pooled(runs[:1]).interval(0)
        alone += low <= TRUTH <= high
    assert 0.925 <= held / 400 <= (1 if number == 2 else 0.99)  # of two runs it errs on the safe side
    assert alone / 400 < 0.925  # one run does not know what another seed would have given


def test_a_difference_holds_the_truth_as_often_as_it_says():
    """The talkers cancel, the seeds do not, and those of two configurations are not drawn together."""
    generator, held, widths = np.random.default_rng(5), 0, []
    for _ in range(400):
        talkers = generator.normal(scale=TALKERS)
        one = runs_of(generator, 4, talkers)
        draws = one[0].draws - one[0].figures
        figures = TRUTH + talkers + generator.normal(scale=SEEDS, size=4)
        other = [Evaluation(np.array([figure]), figure + draws, 40) for figure in figures]
        _, (low, high) = pooled(one, 0).difference(pooled(other, 1), 0)
        held += low <= 0 <= high
        widths.append(high - low)
    assert 0.925 <= held / 400 <= 0.99
    assert np.median(widths) < 6 * SEEDS  # of independent talkers it would be wider by theirs


def test_a_paired_difference_holds_the_truth_as_often_as_it_says():
    """Talkers and the chance in the starts cancel; what is left is the chance in what follows them."""
    generator, after, held, widths, unpaired = np.random.default_rng(6), SEEDS / 3, 0, [], []
    for _ in range(400):
        starts = runs_of(generator, 4, generator.normal(scale=TALKERS))
        moves = generator.normal(scale=after, size=4)
        runs = [Evaluation(start.figures + move, start.draws + move, 40) for start, move in zip(starts, moves, strict=True)]
        value, (low, high) = paired_difference(runs, starts, 0)
        assert value == pytest.approx(moves.mean())
        held += low <= 0 <= high
        widths.append(high - low)
        _, (low, high) = pooled(runs, 0).difference(pooled(starts, 1), 0)
        unpaired.append(high - low)
    assert 0.925 <= held / 400 <= 0.99
    assert np.median(widths) < 6 * after < np.median(unpaired)
