"""The dynamic gate's threshold against the densities of scikit-learn's mixture and scipy's root finder."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from pipeline.losses.loss_gate import Mixture, crossing, fit_mixture, refit


def weighted_difference(x: float, mixture: Mixture) -> float:
    (w1, w2), (m1, m2), (v1, v2) = mixture.weights, mixture.means, mixture.variances
    return w1 * norm.pdf(x, m1, v1**0.5) - w2 * norm.pdf(x, m2, v2**0.5)


def two_groups(seed: int, sizes: tuple[int, int] = (3000, 1000)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.exp(np.concatenate([rng.normal(-3.0, 0.8, sizes[0]), rng.normal(1.5, 0.5, sizes[1])]))


@pytest.mark.parametrize(
    "mixture",
    [
        Mixture((0.7, 0.3), (-3.0, 1.5), (0.64, 0.25)),
        Mixture((0.5, 0.5), (-1.0, 1.0), (0.3, 0.3)),
        Mixture((0.2, 0.8), (-2.0, 2.0), (1.5, 0.4)),
        Mixture((0.9, 0.1), (-4.0, 0.0), (0.2, 2.0)),
    ],
)
def test_crossing_is_where_the_weighted_densities_are_equal(mixture):
    expected = brentq(weighted_difference, *mixture.means, args=(mixture,), xtol=1e-12)
    assert crossing(mixture) == pytest.approx(expected, abs=1e-9)


def test_equal_variances_and_weights_cross_midway():
    assert crossing(Mixture((0.5, 0.5), (-1.0, 2.0), (0.4, 0.4))) == pytest.approx(0.5)


def test_of_two_crossings_the_one_between_the_means_counts():
    mixture = Mixture((0.5, 0.5), (-2.0, 1.0), (0.25, 4.0))
    grid = np.linspace(-12, 12, 200_001)
    signs = np.sign([weighted_difference(x, mixture) for x in grid[::100]])
    assert np.count_nonzero(np.diff(signs)) == 2
    found = crossing(mixture)
    assert found is not None and -2.0 < found < 1.0
    assert weighted_difference(found, mixture) == pytest.approx(0.0, abs=1e-12)


def test_no_crossing_between_the_means():
    swallowed = Mixture((0.98, 0.02), (0.0, 0.3), (1.0, 1.0))
    assert weighted_difference(0.0, swallowed) > 0 and weighted_difference(0.3, swallowed) > 0
    assert crossing(swallowed) is None


@pytest.mark.parametrize("vanished", [Mixture((0.999, 0.001), (-3.0, 2.0), (0.5, 0.5)), Mixture((0.5, 0.5), (-3.0, 2.0), (1e-9, 0.5))])
def test_a_vanished_component_gives_no_crossing(vanished):
    assert crossing(vanished) is None


def test_mixture_is_that_of_scikit_learn_and_finds_the_groups():
    mixture = fit_mixture(two_groups(0), seed=1)
    assert mixture.means == pytest.approx((-3.0, 1.5), abs=0.1)
    assert mixture.weights == pytest.approx((0.75, 0.25), abs=0.02)
    assert mixture.variances == pytest.approx((0.64, 0.25), abs=0.08)


def test_threshold_separates_the_groups_on_the_scale_of_the_loss():
    losses = two_groups(0)
    fit = refit(losses, None, seed=1)
    assert fit.status == "fitted" and fit.threshold is not None
    assert np.mean(losses[:3000] < fit.threshold) > 0.99
    assert np.mean(losses[3000:] > fit.threshold) > 0.99


def test_without_a_crossing_the_last_threshold_is_kept_and_said_so():
    same = np.full(500, 0.7)
    fit = refit(same, previous=1.25, seed=1)
    assert fit.threshold == 1.25
    assert fit.status.startswith("kept: ")


def test_refit_is_deterministic():
    assert refit(two_groups(3), None, seed=5) == refit(two_groups(3), None, seed=5)
