"""Trials made from pseudo clusters."""

import numpy as np
import pytest
from scipy import stats

from selfsv.scoring.cluster_trials import cluster_trials, of_sessions


@pytest.fixture
def corpus() -> tuple[np.ndarray, np.ndarray]:
    """Labels and sessions of 40 clusters of unequal size, each with several sessions, and stray recordings in other clusters."""
    draw = np.random.default_rng(0)
    clusters = np.repeat(np.arange(40), draw.integers(4, 60, 40))
    sessions = np.array([f"{cluster}-{draw.integers(3)}" for cluster in clusters])
    labels = np.where(draw.random(len(clusters)) < 0.1, draw.integers(0, 40, len(clusters)), clusters)
    return labels, sessions


def test_a_session_has_the_label_of_most_of_its_recordings(corpus):
    labels, sessions = corpus
    found = of_sessions(labels, sessions)
    for session in np.unique(sessions):
        assert (found[sessions == session] == stats.mode(labels[sessions == session]).mode).all()


def test_targets_share_a_cluster_and_no_trial_a_session(corpus):
    labels, sessions = corpus
    majority = of_sessions(labels, sessions)
    trials = cluster_trials(labels, sessions, 2000, 1)
    assert np.count_nonzero(trials.target) == np.count_nonzero(~trials.target) == 2000
    assert (trials.target == (majority[trials.first] == majority[trials.second])).all()
    assert (sessions[trials.first] != sessions[trials.second]).all()
    assert (trials.target == (trials.clusters[:, 0] == trials.clusters[:, 1])).all()
    pairs = {frozenset(pair) for pair in zip(trials.first.tolist(), trials.second.tolist(), strict=True)}
    assert len(pairs) == 4000
    assert trials.doubts == ""


def test_every_cluster_is_drawn_equally_often():
    sizes = np.array([300, *[60] * 39])
    labels = np.repeat(np.arange(40), sizes)
    sessions = 7 * labels + np.arange(len(labels)) % 7
    trials = cluster_trials(labels, sessions, 4000, 1)
    counts = np.bincount(labels[trials.first[trials.target]], minlength=40)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert counts[0] < 2 * counts[1:].mean()  # by its pairs it would have had 25 times as many as another


def test_trials_depend_on_the_seed_alone(corpus):
    one, same, other = (cluster_trials(*corpus, 500, seed) for seed in (1, 1, 2))
    assert (one.first == same.first).all() and (one.second == same.second).all()
    assert (one.first != other.first).any()


def test_a_small_corpus_gives_all_that_it_has():
    trials = cluster_trials(np.array([0, 0, 0, 1]), np.array(list("abcd")), 1000, 1)
    pairs = sorted(zip(trials.first.tolist(), trials.second.tolist(), trials.target.tolist(), strict=True))
    assert pairs == [(0, 1, True), (0, 2, True), (0, 3, False), (1, 2, True), (1, 3, False), (2, 3, False)]
    assert "2 clusters" not in trials.doubts and "1 clusters, fewer than 30" in trials.doubts and "3 pairs" in trials.doubts


@pytest.mark.parametrize(("labels", "kinds"), [([0, 0, 0], {True}), ([0, 1, 2], {False}), ([0], set())])
def test_one_kind_may_be_missing(labels, kinds):
    trials = cluster_trials(np.array(labels), np.arange(len(labels)), 10, 1)
    assert set(trials.target.tolist()) == kinds


def test_clusters_of_one_session_pair_their_recordings_and_it_is_said(corpus):
    labels, _ = corpus
    trials = cluster_trials(labels, labels, 2000, 1)
    assert (labels[trials.first] == labels[trials.second])[trials.target].all()
    assert "only 0 % of the clusters have two sessions" in trials.doubts


def test_without_sessions_each_recording_has_its_own_cluster_and_it_is_said(corpus):
    labels, _ = corpus
    trials = cluster_trials(labels, np.full(len(labels), "all"), 2000, 1)
    assert (trials.target == (labels[trials.first] == labels[trials.second])).all()
    assert "not known" in trials.doubts
