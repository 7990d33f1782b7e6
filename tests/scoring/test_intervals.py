"""Intervals of error rates: against plain loops, a published formula, and simulated corpora whose true error rate is known."""

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import chi2

from selfsv.errors import InputError
from selfsv.scoring.error_rates import equal_error_rate, min_dcf, operating_points
from selfsv.scoring.intervals import Units, bootstrap, draw_counts, interval
from selfsv.scoring.measures import measures


def all_pairs(speakers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of both sides of every pair of utterances."""
    first, second = np.array(list(combinations(range(len(speakers)), 2))).T
    return first, second


def small_list(seed: int, decimals: int | None = None, speakers: int = 9) -> tuple[np.ndarray, np.ndarray, Units]:
    """Scores of all pairs of three utterances of each of a few speakers, rounded to have ties."""
    generator = np.random.default_rng(seed)
    who = np.repeat(np.arange(speakers), 3)
    first, second = all_pairs(who)
    target = who[first] == who[second]
    hardness = generator.normal(scale=0.7, size=speakers)
    scores = 1.5 * target + hardness[who[first]] + hardness[who[second]] + generator.normal(size=len(first))
    scores = scores if decimals is None else scores.round(decimals)
    return scores, target, Units("speakers", speakers, who[first], who[second])


def repeated(counts: np.ndarray, scores: np.ndarray, target: np.ndarray, units: Units) -> tuple[np.ndarray, np.ndarray]:
    """The trials of a draw, one by one: a pair of speakers once for each pair of their copies, a speaker's own once for each copy."""
    chosen_scores, chosen_targets = [], []
    for score, is_target, enroll, test in zip(scores, target, units.enroll, units.test, strict=True):
        copies = [None] if enroll == test else range(counts[test])
        times = sum(1 for _ in range(counts[enroll]) for _ in copies)
        chosen_scores += [score] * times
        chosen_targets += [is_target] * times
    return np.array(chosen_scores), np.array(chosen_targets)


@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("seed", range(4))
def test_every_draw_is_the_error_rate_of_the_repeated_trials(seed, decimals):
    scores, target, units = small_list(seed, decimals)
    found = bootstrap(scores, target, units, measures(0.01), draws=30)
    for draw, (eer, cost, other_cost) in enumerate(found):
        curve = operating_points(*repeated(draw_counts(units.count, draw), scores, target, units))
        assert eer == pytest.approx(equal_error_rate(*curve), abs=1e-12)
        assert cost == pytest.approx(min_dcf(*curve, 0.01), abs=1e-12)
        assert other_cost == pytest.approx(min_dcf(*curve, 0.05), abs=1e-12)


def test_draws_are_the_same_again_and_do_not_depend_on_threads():
    scores, target, units = small_list(0)
    one, two = (bootstrap(scores, target, units, measures(0.01), draws=50, threads=threads) for threads in (1, 4))
    np.testing.assert_array_equal(one, two)
    assert np.unique(bootstrap(scores, target, units, measures(0.01), draws=50, seed=2)[:, 0]).size > 10


def test_a_draw_without_a_kind_of_trials_has_no_error_rate():
    """Two speakers, of whom one has no target trial: half of the draws have one speaker alone, and some no target."""
    units = Units("speakers", 2, np.array([0, 0, 1]), np.array([0, 1, 0]))
    found = bootstrap(np.array([0.9, 0.2, 0.4]), np.array([True, False, False]), units, measures(0.01), draws=40)
    alone = [np.count_nonzero(draw_counts(2, draw)) == 1 for draw in range(40)]
    assert np.isnan(found).all(axis=1).tolist() == alone


def test_a_pair_of_units_weighs_their_product_also_where_it_is_a_target():
    """By session, targets are trials of two units. The loop above has them within one, so this is another check."""
    generator = np.random.default_rng(5)
    sessions, target = generator.integers(7, size=(2, 60)), generator.random(60) < 0.5
    scores, units = generator.normal(size=60) + target, Units("sessions", 7, *sessions)
    for draw, (eer, *_) in enumerate(bootstrap(scores, target, units, measures(0.01), draws=20)):
        curve = operating_points(*repeated(draw_counts(7, draw), scores, target, units))
        assert eer == pytest.approx(equal_error_rate(*curve), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "target", "message"),
    [([0.1, np.nan], [True, False], "not finite"), ([0.1, 0.2], [True, True], "all 2 trials are target trials")],
)
def test_what_has_no_error_rate_has_no_interval_either(scores, target, message):
    units = Units("speakers", 2, np.array([0, 0]), np.array([0, 1]))
    with pytest.raises(InputError, match=message):
        bootstrap(np.array(scores), np.array(target), units, measures(0.01))


def test_deviations_are_those_of_the_published_formula():
    """Fogliato, Patil and Perona (arXiv 2306.01198): the plug-in variance of miss and false-alarm rates at a threshold."""
    generator = np.random.default_rng(3)
    speakers = 80
    who = np.repeat(np.arange(speakers), 4)
    first, second = all_pairs(who)
    target = who[first] == who[second]
    hardness = generator.normal(scale=0.8, size=speakers)
    score = 2.0 * target + hardness[who[first]] + hardness[who[second]] + generator.normal(size=len(first))
    accepted = (score > 1.0).astype(float)  # two values, so that the curve has one threshold between its ends
    units = Units("speakers", speakers, who[first], who[second])
    values = bootstrap(accepted, target, units, lambda miss, false_alarm: np.array([miss[1], false_alarm[1]]), draws=1500)

    errors = np.where(target, 1 - accepted, accepted)
    rates = np.array([errors[target].mean(), errors[~target].mean()])
    excess = errors - np.where(target, rates[0], rates[1])
    of_pair = np.zeros((speakers, speakers))
    np.add.at(of_pair, (who[first], who[second]), excess)
    within, between = np.diag(of_pair), of_pair + of_pair.T - 2 * np.diag(np.diag(of_pair))
    miss_variance = np.square(within).sum() / target.sum() ** 2
    covariances = np.square(between.sum(axis=1)).sum() - np.square(between).sum()
    false_alarm_variance = (np.square(between).sum() / 2 + covariances) / (~target).sum() ** 2
    np.testing.assert_allclose(values.std(axis=0), np.sqrt([miss_variance, false_alarm_variance]), rtol=0.1)
    np.testing.assert_allclose(values.mean(axis=0), rates, rtol=0.05)
    independent = np.sqrt(rates * (1 - rates) / [target.sum(), (~target).sum()])
    assert (values.std(axis=0) > [1.3 * independent[0], 3 * independent[1]]).all()  # what resampling trials would have given


# Intervals ------------------------------------------------------------------------------------------------------------


def test_without_bias_the_interval_is_that_of_the_percentiles():
    values = np.random.default_rng(0).normal(size=4001)
    low, high = interval(float(np.median(values)), values, 30)
    np.testing.assert_allclose([low, high], np.quantile(values, [0.025, 0.975]), atol=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_the_correction_of_bias_is_that_of_scipy(seed):
    """A symmetric sample's mean has no acceleration, so scipy's BCa interval is this one; few draws leave a bias to correct."""
    half = np.random.default_rng(seed).exponential(size=15)
    sample = np.concatenate([half, -half])
    found = scipy_bootstrap((sample,), np.mean, method="BCa", n_resamples=60, rng=np.random.default_rng(seed))
    expected = found.confidence_interval
    ours = interval(float(sample.mean()), found.bootstrap_distribution, len(sample))
    np.testing.assert_allclose(ours, [expected.low, expected.high], rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "units"),
    [
        (np.linspace(0, 1, 100), 4),  # too few units
        (np.append(np.linspace(0, 1, 49), np.full(51, np.nan)), 50),  # too few draws with both kinds
        (np.zeros(100), 50),  # nothing went wrong in any draw
        (np.full(100, np.nan), 50),
        (np.zeros(0), 50),
    ],
)
def test_where_resampling_cannot_tell_there_is_no_interval(values, units):
    assert np.isnan(interval(0.0, values, units)).all()


# Coverage -------------------------------------------------------------------------------------------------------------

# The two-covariance model: a speaker's mean is N(0, between I), a recording is N(mean, I). The score is minus the squared
# distance, so target scores are -2 and non-target scores -(2 + 2 between) times a chi-squared variable: all is in closed form.
DIMENSIONS, BETWEEN = 16, 4.0


def miss_at(distance: float) -> float:
    return float(chi2.sf(distance / 2, DIMENSIONS))


def false_alarm_at(distance: float) -> float:
    return float(chi2.cdf(distance / (2 + 2 * BETWEEN), DIMENSIONS))


def true_figures() -> list[float]:
    """EER, and minDCF at 0.01 and at 0.05."""
    crossing = brentq(lambda distance: miss_at(distance) - false_alarm_at(distance), 1, 200)

    def least(prior: float) -> float:
        best = minimize_scalar(lambda at: miss_at(at) + (1 - prior) / prior * false_alarm_at(at), bounds=(1, crossing), method="bounded")
        return float(best.fun)

    return [miss_at(crossing), least(0.01), least(0.05)]


def test_the_closed_form_is_that_of_a_large_corpus():
    generator = np.random.default_rng(0)
    distance = generator.normal(size=(300_000, DIMENSIONS)), generator.normal(size=(300_000, DIMENSIONS))
    spread = np.sqrt(2.0), np.sqrt(2 + 2 * BETWEEN)
    scores = np.concatenate([-np.square(scale * values).sum(axis=1) for scale, values in zip(spread, distance, strict=True)])
    found = measures(0.01)(*operating_points(scores, np.repeat([True, False], 300_000)))
    np.testing.assert_allclose(found, true_figures(), rtol=0.05)


def simulated(generator: np.random.Generator, speakers: int, each: int) -> tuple[np.ndarray, np.ndarray, Units]:
    """All pairs of the recordings of a corpus."""
    who = np.repeat(np.arange(speakers), each)
    voices = np.sqrt(BETWEEN) * generator.normal(size=(speakers, DIMENSIONS))[who] + generator.normal(size=(len(who), DIMENSIONS))
    first, second = np.triu_indices(len(who), 1)
    scores = -np.square(voices[first] - voices[second]).sum(axis=1)
    return scores, who[first] == who[second], Units("speakers", speakers, who[first], who[second])


@pytest.mark.slow
@pytest.mark.parametrize(("speakers", "each"), [(40, 4), (60, 5)])
def test_intervals_hold_the_true_figure_as_often_as_they_say(speakers, each):
    corpora, generator, held = 200, np.random.default_rng(0), np.zeros(3)
    for number in range(corpora):
        scores, target, units = simulated(generator, speakers, each)
        figures = measures(0.01)(*operating_points(scores, target))
        values = bootstrap(scores, target, units, measures(0.01), draws=400, seed=number)
        intervals = [interval(figures[index], values[:, index], speakers) for index in range(3)]
        held += [low <= truth <= high for (low, high), truth in zip(intervals, true_figures(), strict=True)]
    print(f"{speakers} speakers of {each} recordings: the intervals held the true figures in {(held / corpora).round(3)} of the corpora")
    assert (held / corpora >= 0.90).all() and (held / corpora <= 0.99).all()
