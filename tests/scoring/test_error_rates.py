"""EER and minDCF against a search over all thresholds, with ties and tiny lists."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from selfsv.errors import InputError
from selfsv.scoring.error_rates import equal_error_rate, min_dcf, operating_points


def rates(scores: np.ndarray, target: np.ndarray, threshold: float) -> tuple[float, float]:
    """Miss and false-alarm rate when everything at or above `threshold` is accepted."""
    return float(np.mean(scores[target] < threshold)), float(np.mean(scores[~target] >= threshold))


def searched_min_dcf(scores: np.ndarray, target: np.ndarray, p_target: float) -> float:
    costs = [
        miss * p_target + false_alarm * (1 - p_target)
        for miss, false_alarm in (rates(scores, target, threshold) for threshold in [*np.unique(scores), np.inf])
    ]
    return min(costs) / min(p_target, 1 - p_target)


def trials(seed: int, targets: int, nontargets: int, decimals: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(1.5, 1, targets), rng.normal(0, 1, nontargets)])
    return scores if decimals is None else scores.round(decimals), np.repeat([True, False], [targets, nontargets])


@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize(("targets", "nontargets"), [(1, 1), (2, 3), (40, 90), (300, 200)])
@pytest.mark.parametrize("p_target", [0.01, 0.05, 0.5])
def test_min_dcf_is_the_least_cost_of_any_threshold(targets, nontargets, decimals, p_target):
    scores, target = trials(targets, targets, nontargets, decimals)
    assert min_dcf(*operating_points(scores, target), p_target) == pytest.approx(searched_min_dcf(scores, target, p_target))


@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_every_threshold_is_an_operating_point(decimals):
    scores, target = trials(7, 30, 50, decimals)
    miss, false_alarm = operating_points(scores, target)
    points = set(zip(miss.round(9), false_alarm.round(9), strict=True))
    expected = {tuple(np.round(rates(scores, target, threshold), 9)) for threshold in [*np.unique(scores), np.inf]}
    assert points == expected


def test_eer_lies_between_the_thresholds_around_it():
    for seed in range(20):
        scores, target = trials(seed, 37, 53, decimals=1)
        eer = equal_error_rate(*operating_points(scores, target))
        pairs = [rates(scores, target, threshold) for threshold in np.unique(scores)]
        low = max((miss, false_alarm) for miss, false_alarm in pairs if miss <= false_alarm)
        high = min([(miss, false_alarm) for miss, false_alarm in pairs if miss >= false_alarm] or [(1.0, 0.0)])
        assert low[0] - 1e-12 <= eer <= high[0] + 1e-12


def test_eer_of_two_gaussians_is_the_closed_form():
    scores, target = trials(0, 200_000, 200_000)
    assert equal_error_rate(*operating_points(scores, target)) == pytest.approx(norm.cdf(-1.5 / 2), abs=0.002)


@pytest.mark.parametrize(
    ("scores", "target", "expected"),
    [
        ([0.9, 0.1], [True, False], 0.0),
        ([0.1, 0.9], [True, False], 1.0),
        ([0.5, 0.5], [True, False], 0.5),
        ([0.5, 0.5, 0.5, 0.5], [True, False, False, False], 0.5),
        ([0.8, 0.6, 0.7, 0.1], [True, True, False, False], 0.5),
    ],
)
def test_eer_of_lists_one_can_work_out_by_hand(scores, target, expected):
    assert equal_error_rate(*operating_points(np.array(scores), np.array(target))) == pytest.approx(expected)


def test_eer_is_where_the_interpolated_curve_meets_the_diagonal():
    scores, target = trials(11, 23, 31)
    miss, false_alarm = operating_points(scores, target)
    along = np.linspace(0, 1, len(miss))
    meeting = brentq(lambda at: np.interp(at, along, miss) - np.interp(at, along, false_alarm), 0, 1, xtol=1e-13)
    assert equal_error_rate(miss, false_alarm) == pytest.approx(float(np.interp(meeting, along, miss)), abs=1e-9)


@pytest.mark.parametrize(
    ("scores", "target", "message"),
    [
        ([0.1, np.nan], [True, False], "1 of 2 scores are not finite"),
        ([0.1, 0.2], [True, True], "all 2 trials are target trials"),
        ([0.1], [False], "all 1 trials are non-target trials"),
    ],
)
def test_what_has_no_error_rate_is_refused(scores, target, message):
    with pytest.raises(InputError, match=message):
        operating_points(np.array(scores), np.array(target))


def test_a_prior_that_leaves_nothing_to_decide_is_refused():
    with pytest.raises(InputError, match="p_target"):
        min_dcf(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 0.0)
