"""The dynamic gate's threshold against the densities of scikit-learn's mixture and scipy's root finder."""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, minimize
from scipy.stats import norm
from sklearn.mixture import GaussianMixture

from selfsv.losses import loss_gate
from selfsv.losses.loss_gate import Mixture, clean_posterior, crossing, fit_mixture, refit


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


# Groups that overlap, as log losses do: means and deviations of right and wrong labels, and the share of the right ones.
OVERLAPPING = [((-2.0, 1.8), (1.0, 1.0), 0.6), ((-4.0, 2.5), (1.5, 0.8), 0.7), ((-3.0, 2.0), (1.2, 0.9), 0.6)]


def true_threshold(low: tuple[float, float], high: tuple[float, float], share: float) -> float:
    """Where the densities that the groups come from cross, on the scale of the loss, by scipy's root finder."""
    return float(np.exp(brentq(lambda x: share * norm.pdf(x, *low) - (1 - share) * norm.pdf(x, *high), low[0], high[0])))


def losses_of(low: tuple[float, float], high: tuple[float, float], share: float, points: int) -> np.ndarray:
    """The quantiles of the two groups together: a sample without the chance of one."""
    grid = np.linspace(-20.0, 10.0, 300_001)
    distribution = share * norm.cdf(grid, *low) + (1 - share) * norm.cdf(grid, *high)
    return np.exp(np.interp((np.arange(points) + 0.5) / points, distribution, grid))


@pytest.mark.parametrize("points", [8_000, 300_000])
@pytest.mark.parametrize(("low", "high", "share"), OVERLAPPING)
def test_threshold_is_the_true_crossing_of_overlapping_groups(low, high, share, points):
    fit = refit(losses_of(low, high, share, points), None)
    assert fit.status == "fitted"
    assert fit.threshold == pytest.approx(true_threshold(low, high, share), rel=0.03)


def test_threshold_of_a_random_sample_of_overlapping_groups():
    rng = np.random.default_rng(0)
    low, high, share = OVERLAPPING[0]
    right = rng.random(1_000_000) < share
    losses = np.exp(np.where(right, rng.normal(*low, len(right)), rng.normal(*high, len(right))))
    assert true_threshold(low, high, share) == pytest.approx(0.837, abs=1e-3)
    assert refit(losses, None).threshold == pytest.approx(0.837, rel=0.03)


def test_mixture_has_the_greatest_likelihood():
    """No other mixture nearby explains the losses better, by scikit-learn's own likelihood and scipy's optimiser."""
    values = np.log(losses_of(*OVERLAPPING[0], 4_000))

    def mean_negative_log_likelihood(parameters: np.ndarray) -> float:
        weight = 1 / (1 + np.exp(-parameters[0]))
        densities = weight * norm.pdf(values, parameters[1], np.exp(parameters[2]))
        densities += (1 - weight) * norm.pdf(values, parameters[3], np.exp(parameters[4]))
        return -float(np.log(densities).mean())

    mixture = fit_mixture(np.exp(values))
    (weight, _), (low, high), (narrow, wide) = mixture.weights, mixture.means, mixture.variances
    start = np.array([np.log(weight / (1 - weight)), low, np.log(narrow) / 2, high, np.log(wide) / 2])
    best = minimize(mean_negative_log_likelihood, start, method="BFGS", options={"gtol": 1e-8})
    assert mean_negative_log_likelihood(start) == pytest.approx(best.fun, abs=1e-6)
    assert mixture.means == pytest.approx((best.x[1], best.x[3]), abs=0.02)


def test_mixture_finds_the_groups():
    mixture = fit_mixture(two_groups(0))
    assert mixture.means == pytest.approx((-3.0, 1.5), abs=0.1)
    assert mixture.weights == pytest.approx((0.75, 0.25), abs=0.02)
    assert mixture.variances == pytest.approx((0.64, 0.25), abs=0.08)


def test_many_losses_and_their_groups_give_the_same_threshold(monkeypatch):
    losses = losses_of(*OVERLAPPING[1], 40_000)
    grouped = refit(losses, None).threshold
    monkeypatch.setattr(loss_gate, "MOST_POINTS", 10**9)
    assert refit(losses, None).threshold == pytest.approx(grouped, rel=0.005)


@pytest.mark.parametrize("start", [Mixture((0.5, 0.5), (-2.0, 0.5), (2.0, 1.5)), Mixture((0.9, 0.1), (-3.5, 1.5), (1.0, 0.2))])
def test_where_the_fit_begins_does_not_matter(start):
    losses = losses_of(*OVERLAPPING[1], 8_000)
    assert refit(losses, None, start).threshold == pytest.approx(refit(losses, None).threshold, rel=1e-3)


def test_a_start_that_leads_nowhere_is_left():
    """The last epoch's mixture lies far from these losses, and one of its components takes none of them."""
    losses = two_groups(0)
    lost = Mixture((0.99, 0.01), (-1.9, 60.0), (5.0, 0.1))
    assert crossing(fit_mixture(losses, lost)) is None
    assert refit(losses, None, lost).threshold == pytest.approx(refit(losses, None).threshold)


def test_a_fit_that_has_not_converged_says_so(monkeypatch, caplog):
    monkeypatch.setattr(loss_gate, "MOST_ITERATIONS", 3)
    fit = refit(losses_of(*OVERLAPPING[0], 4_000), None)
    assert fit.status == "fitted: not converged" and not fit.mixture.converged
    assert "has not converged" in caplog.text


def test_threshold_separates_the_groups_on_the_scale_of_the_loss():
    losses = two_groups(0)
    fit = refit(losses, None)
    assert fit.status == "fitted" and fit.threshold is not None
    assert np.mean(losses[:3000] < fit.threshold) > 0.99
    assert np.mean(losses[3000:] > fit.threshold) > 0.99


def test_without_a_crossing_the_last_threshold_is_kept_and_said_so():
    same = np.full(500, 0.7)
    fit = refit(same, previous=1.25)
    assert fit.threshold == 1.25
    assert fit.status.startswith("kept: ")


def test_refit_is_deterministic():
    assert refit(two_groups(3), None) == refit(two_groups(3), None)


def test_the_posterior_is_scikit_learns_and_never_falls_towards_smaller_losses():
    rng = np.random.default_rng(0)
    losses = np.exp(np.concatenate([rng.normal(-2, 0.5, 700), rng.normal(1, 0.8, 300)]))
    mixture = fit_mixture(losses)
    found = clean_posterior(torch.from_numpy(losses), mixture).numpy()
    model = GaussianMixture(2).fit(np.log(losses)[:, None])  # its weights are replaced: only the posterior is asked of it
    model.weights_, model.means_ = np.array(mixture.weights), np.array(mixture.means)[:, None]
    model.covariances_ = np.array(mixture.variances)[:, None, None]
    model.precisions_cholesky_ = 1 / np.sqrt(model.covariances_)
    above = np.log(losses) > mixture.means[0]
    np.testing.assert_allclose(found[above], model.predict_proba(np.log(losses)[:, None])[above, 0], atol=1e-9)
    assert (np.diff(found[np.argsort(losses)]) <= 1e-12).all()
    threshold = np.exp(crossing(mixture))
    assert ((found > 0.5) == (losses < threshold)).all()
