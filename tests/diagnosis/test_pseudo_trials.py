"""Pseudo trials: which pairs they are, by plain loops, and their error rates against scikit-learn's ROC curve and a plain s-norm."""

from itertools import combinations

import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from selfsv.diagnosis.measures import PseudoScorer
from selfsv.diagnosis.pseudo_trials import PseudoTrials, different_group, part_trials, pseudo_error_rates, same_group, session_trials
from selfsv.settings.scoring import ScoreSettings

SIZES = (1, 4, 2, 7, 1, 3)
LARGE = 100_000  # draws of a corpus this small: every pair is met


def grouped(sizes: tuple[int, ...] = SIZES) -> np.ndarray:
    """The group of each item, not in order."""
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))


@pytest.mark.parametrize("sizes", [SIZES, (2, 2), (1, 30), (5,)])
def test_pairs_are_all_that_a_plain_loop_finds(sizes):
    groups, rng = grouped(sizes), np.random.default_rng(1)
    pairs = list(combinations(range(len(groups)), 2))
    expected = {True: {(i, j) for i, j in pairs if groups[i] == groups[j]}, False: {(i, j) for i, j in pairs if groups[i] != groups[j]}}
    for same, drawn in ((True, same_group(groups, LARGE, rng)), (False, different_group(groups, LARGE, rng))):
        found = [tuple(sorted(pair)) for pair in drawn.tolist()]
        assert len(found) == len(set(found)) and set(found) == expected[same]


def test_no_more_pairs_than_asked_for():
    groups, rng = grouped((40, 40, 40)), np.random.default_rng(1)
    assert 0 < len(same_group(groups, 50, rng)) <= 50 and 0 < len(different_group(groups, 50, rng)) <= 50


def test_a_part_is_never_compared_with_itself_nor_with_its_own_session_as_another():
    sessions = grouped()
    trials = part_trials(sessions, LARGE, np.random.default_rng(2))
    count = len(sessions)
    recordings = np.arange(count)
    np.testing.assert_array_equal(trials.enroll[trials.target], recordings)
    np.testing.assert_array_equal(trials.test[trials.target], recordings + count)
    assert (trials.enroll < count).all() and (trials.test >= count).all()
    others = ~trials.target
    assert others.any() and (sessions[trials.enroll[others]] != sessions[trials.test[others] - count]).all()


def test_with_one_session_every_other_recording_is_a_non_target():
    trials = part_trials(np.zeros(5, int), LARGE, np.random.default_rng(2))
    pairs = {tuple(sorted(pair)) for pair in zip(trials.enroll[5:].tolist(), (trials.test[5:] - 5).tolist(), strict=True)}
    assert pairs == set(combinations(range(5), 2))


def test_recordings_of_a_session_are_never_the_same_one():
    sessions = grouped()
    trials = session_trials(sessions, LARGE, np.random.default_rng(3))
    assert (trials.enroll != trials.test).all()
    np.testing.assert_array_equal(sessions[trials.enroll] == sessions[trials.test], trials.target)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def eer(scores: np.ndarray, target: np.ndarray) -> float:
    """Where the straight lines of scikit-learn's ROC curve meet miss = false alarm, found by Brent's method."""
    false_alarm, hit, _ = roc_curve(target, scores, drop_intermediate=False)
    return float(brentq(lambda x: 1 - x - interp1d(false_alarm, hit)(x), 0, 1))


def plain_snorm(units: np.ndarray, clusters: np.ndarray, cohort: np.ndarray, top: int, one: int, other: int) -> float:
    """With the nearest members of the cohort but for the utterance's own cluster."""
    score = float(units[one] @ units[other])
    sides = [np.sort(np.delete(cohort @ units[side], clusters[side]))[-top:].astype(float) for side in (one, other)]
    return float(np.mean([(score - side.mean()) / side.std() for side in sides]))


def test_error_rates_are_those_of_a_plain_loop():
    rng = np.random.default_rng(4)
    sessions = grouped((6,) * 20)
    units = unit(rng.normal(size=(20, 8))[sessions] + 1.2 * rng.normal(size=(120, 8)))
    cohort = unit(rng.normal(size=(15, 8)))
    trials = session_trials(sessions, 400, rng)
    pairs = list(zip(trials.enroll.tolist(), trials.test.tolist(), strict=True))
    clusters = rng.integers(15, size=120)
    by_cosine, by_snorm = pseudo_error_rates(trials, units, clusters, cohort, 5)
    assert by_cosine == pytest.approx(eer(np.array([units[i] @ units[j] for i, j in pairs]), trials.target), abs=2e-3)
    assert by_snorm == pytest.approx(
        eer(np.array([plain_snorm(units, clusters, cohort, 5, i, j) for i, j in pairs]), trials.target), abs=2e-3
    )
    assert 0.02 < by_cosine < 0.4


@pytest.mark.parametrize("target", [[True, True], [False, False], []])
def test_without_targets_or_non_targets_there_is_no_rate(target):
    trials = PseudoTrials(np.arange(len(target)), np.arange(len(target)), np.array(target, bool))
    assert np.isnan(pseudo_error_rates(trials, np.eye(2, dtype=np.float32), np.zeros(2, int), np.eye(2, dtype=np.float32), 1)).all()


def test_the_mean_is_subtracted_as_the_scores_have_it():
    """An offset that all embeddings share: with it every cosine is near 1, and a mean subtracted takes it away again."""
    rng = np.random.default_rng(5)
    sessions = grouped((5,) * 12)
    voices = (rng.normal(size=(12, 6))[sessions] + 0.7 * rng.normal(size=(60, 6))).astype(np.float32)
    voices -= voices.mean(axis=0)
    trials = session_trials(sessions, 200, rng)
    rows = {
        (offset, subtract): PseudoScorer(voices + offset, sessions, ScoreSettings(subtract_mean=subtract)).row(
            "x", trials, voices + offset, np.arange(60)
        )
        for offset in (np.float32(0), np.float32(3))
        for subtract in (True, False)
    }
    assert rows[3, True]["x_eer"] == pytest.approx(rows[0, False]["x_eer"], abs=0.01) and rows[3, False]["x_eer"] != rows[0, False]["x_eer"]
    assert rows[3, True]["x_targets"] == trials.target.sum() and rows[3, True]["x_nontargets"] == (~trials.target).sum()
