"""Cllr, minCllr and the actual cost against closed forms, a search, and the published formulas written out."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import norm

from selfsv.errors import InputError, SettingsError
from selfsv.scoring.error_rates import min_dcf, operating_points
from selfsv.scoring.likelihood_ratios import actual_dcf, cllr, min_cllr


def scored(seed: int, targets: int, nontargets: int, decimals: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    scores = np.concatenate([generator.normal(1.5, 1, targets), generator.normal(0, 1, nontargets)])
    return scores if decimals is None else scores.round(decimals), np.repeat([True, False], [targets, nontargets])


def test_cllr_is_the_sum_that_was_published():
    llr, target = scored(0, 40, 70)
    of_targets = sum(np.log2(1 + np.exp(-value)) for value in llr[target]) / 40
    of_nontargets = sum(np.log2(1 + np.exp(value)) for value in llr[~target]) / 70
    assert cllr(llr, target) == pytest.approx((of_targets + of_nontargets) / 2)
    assert cllr(np.zeros(110), target) == pytest.approx(1)
    assert cllr(np.where(target, np.inf, -np.inf), target) == 0
    assert cllr(np.full(110, 1000.0), target) == pytest.approx(500 / np.log(2))  # no overflow


def test_cllr_of_two_gaussians_is_its_integral():
    """Scores N(±d/2, d) are their own log-likelihood ratios."""
    variance = 3.0
    generator = np.random.default_rng(1)
    target = np.arange(400_000) % 2 == 0
    llr = np.where(target, variance / 2, -variance / 2) + np.sqrt(variance) * generator.normal(size=len(target))
    cost, _ = quad(lambda x: norm.pdf(x, variance / 2, np.sqrt(variance)) * np.logaddexp(0, -x) / np.log(2), -30, 30)
    assert cllr(llr, target) == pytest.approx(cost, abs=0.005)
    assert min_cllr(llr, target) == pytest.approx(cost, abs=0.005)
    assert actual_dcf(llr, target, 0.1) == pytest.approx(min_dcf(*operating_points(llr, target), 0.1), abs=0.005)


@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("seed", range(3))
def test_no_rising_function_has_a_lower_cllr(seed, decimals):
    """A convex search over all rising sequences of log-likelihood ratios comes out where pooling does."""
    scores, target = scored(seed, 9, 14, decimals)
    values, place = np.unique(scores, return_inverse=True)
    share = np.where(target, 1 / 9, 1 / 14) / (2 * np.log(2))
    sign = np.where(target, -1.0, 1.0)

    def cost(steps: np.ndarray) -> tuple[float, np.ndarray]:
        """Of the ratio of the lowest score and the steps up from it, and its gradient."""
        llr = np.cumsum(steps)[place]
        slope = np.bincount(place, share * sign / (1 + np.exp(-sign * llr)), len(values))
        return float(share @ np.logaddexp(0, sign * llr)), np.cumsum(slope[::-1])[::-1]

    bounds = [(-40, 40)] + [(0, 40)] * (len(values) - 1)
    start = np.concatenate([[-3.0], np.full(len(values) - 1, 6 / len(values))])
    searched = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 5000, "ftol": 1e-13, "gtol": 1e-9})
    assert min_cllr(scores, target) == pytest.approx(searched.fun, abs=1e-4)


@pytest.mark.parametrize("change", [np.exp, lambda scores: 5 * scores - 2, np.arctan])
def test_min_cllr_looks_at_the_order_alone(change):
    scores, target = scored(4, 60, 200)
    assert min_cllr(change(scores), target) == pytest.approx(min_cllr(scores, target))
    assert min_cllr(scores, target) <= cllr(scores, target)


def test_pooling_ends_of_cllr():
    target = np.array([True, True, False, False])
    assert min_cllr(np.array([3.0, 2.0, 1.0, 0.0]), target) == 0
    assert min_cllr(np.array([0.0, 1.0, 2.0, 3.0]), target) == pytest.approx(1)
    assert min_cllr(np.ones(4), target) == pytest.approx(1)


@pytest.mark.parametrize("prior", [0.01, 0.05, 0.5, 0.9])
def test_the_actual_cost_decides_by_bayes_rule(prior):
    llr, target = scored(2, 50, 300)
    llr = 3 * llr - 2
    decided_same = np.exp(llr) * prior / (1 - prior) >= 1
    misses = sum(1 for same, is_target in zip(decided_same, target, strict=True) if is_target and not same) / 50
    false_alarms = sum(1 for same, is_target in zip(decided_same, target, strict=True) if same and not is_target) / 300
    assert actual_dcf(llr, target, prior) == pytest.approx((prior * misses + (1 - prior) * false_alarms) / min(prior, 1 - prior))
    assert actual_dcf(llr, target, prior) >= min_dcf(*operating_points(llr, target), prior)


def test_what_has_no_ratio_is_refused():
    target = np.array([True, False])
    for measure in (cllr, min_cllr, lambda llr, of: actual_dcf(llr, of, 0.1)):
        with pytest.raises(InputError, match="not finite"):
            measure(np.array([0.1, np.nan]), target)
        with pytest.raises(InputError, match="all 2 trials are target trials"):
            measure(np.array([0.1, 0.2]), np.array([True, True]))
    with pytest.raises(SettingsError, match="p_target"):
        actual_dcf(np.array([0.1, 0.2]), target, 1.0)
