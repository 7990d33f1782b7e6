"""Thresholds against counting."""

import numpy as np
import pytest

from selfsv.errors import InputError
from selfsv.inference.thresholds import Trials, chosen, given


@pytest.fixture(scope="module")
def trials() -> Trials:
    rng = np.random.default_rng(1)
    target = rng.random(4000) < 0.3
    return Trials("list", rng.normal(size=4000) + 2.0 * target, target)


def counted(trials: Trials, threshold: float) -> tuple[float, float]:
    """Misses and false alarms when scores from the threshold on are accepted."""
    return float(np.mean(trials.scores[trials.target] < threshold)), float(np.mean(trials.scores[~trials.target] >= threshold))


def test_misses_equal_false_alarms_at_the_eer(trials):
    miss, false_alarm = counted(trials, chosen(trials, "eer").value)
    assert miss == pytest.approx(false_alarm, abs=1e-3) == pytest.approx(0.1587, abs=0.02)


@pytest.mark.parametrize("rate", [0.1, 0.01, 0.0])
def test_false_alarms_stay_within_the_rate(trials, rate):
    threshold = chosen(trials, f"far={rate}").value
    miss, false_alarm = counted(trials, threshold)
    assert false_alarm <= rate
    lower = np.sort(trials.scores[trials.scores < threshold])[-1]  # accepting one more trial saves no miss, or is one alarm too many
    assert counted(trials, lower)[1] > rate or counted(trials, lower)[0] == miss


def test_no_threshold_costs_less_than_min_dcf(trials):
    def cost(threshold):
        miss, false_alarm = counted(trials, threshold)
        return 0.01 * miss + 0.99 * false_alarm

    assert cost(chosen(trials, "min-dcf").value) == pytest.approx(min(map(cost, [*trials.scores, np.inf])))


def test_the_meaning_says_how_often_it_errs(trials):
    threshold = chosen(trials, "far=0.05")
    miss, false_alarm = counted(trials, threshold.value)
    assert (
        f"{100 * miss:.2f} % of the same-speaker and {100 * false_alarm:.2f} % of the different-speaker trials in list" in threshold.meaning
    )


@pytest.mark.parametrize("goal", ["best", "far", "far=much", "far=1", "far=-0.1", "far=nan"])
def test_unknown_goals_are_refused(trials, goal):
    with pytest.raises(InputError, match="no goal"):
        chosen(trials, goal)


def test_a_threshold_is_a_number():
    with pytest.raises(InputError, match="give a number"):
        given(float("nan"))
