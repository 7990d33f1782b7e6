"""Internal validation against scikit-learn, and on corpora whose answers are known."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.metrics import normalized_mutual_info_score, silhouette_samples

from selfsv.clustering.kmeans import spherical_kmeans
from selfsv.clustering.preparation import centred_unit
from selfsv.diagnosis.measures import agreement_with_round_before, geometry
from selfsv.diagnosis.validation import (
    effective_dimensions,
    neighbourhood,
    resampling_stability,
    session_agreement,
    silhouettes,
    whole_sessions,
)
from selfsv.settings.jobs import ReclusteringSettings

SETTINGS = ReclusteringSettings(iterations=25, restarts=60, points_per_cluster=256)  # k-means must find the best of its optima


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_clusters_that_are_sessions_agree_wholly():
    sessions = rng().integers(30, size=600)
    agreement = session_agreement((7 * sessions + 3) % 31, sessions, rng())  # other names for the same
    assert (agreement.ami, agreement.nmi) == (pytest.approx(1), pytest.approx(1))


def test_clusters_that_know_nothing_of_sessions_agree_by_chance_alone():
    labels, sessions = rng().integers(40, size=2000), np.random.default_rng(1).integers(30, size=2000)
    agreement = session_agreement(labels, sessions, rng())
    assert agreement.ami == pytest.approx(0, abs=0.02)
    assert agreement.nmi == pytest.approx(normalized_mutual_info_score(sessions, labels))
    assert agreement.nmi_chance == pytest.approx(agreement.nmi, abs=0.02) and agreement.nmi_chance > 0.08


@pytest.mark.parametrize("sessions", [np.zeros(9, int), np.arange(9)])
def test_sessions_that_tell_nothing_give_no_agreement(sessions):
    assert np.isnan(session_agreement(np.arange(9) % 2, sessions, rng())).all()


def test_sessions_are_sampled_whole():
    sessions = rng().permutation(np.repeat(np.arange(50), 1 + np.arange(50) % 9))
    chosen = whole_sessions(sessions, 100, rng())
    names, counts = np.unique(sessions[chosen], return_counts=True)
    assert all(counts == [np.sum(sessions == name) for name in names])
    assert 100 - 9 < len(chosen) <= 100 and len(set(chosen.tolist())) == len(chosen)
    assert len(whole_sessions(np.zeros(500, int), 100, rng())) == 500  # a session larger than the sample
    np.testing.assert_array_equal(whole_sessions(sessions, len(sessions), rng()), np.arange(len(sessions)))


def blobs(spread: float, dimensions: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Unit embeddings around ten directions, and which direction each is of."""
    directions = np.eye(10, dimensions)
    points, names = make_blobs(600, dimensions, centers=directions, cluster_std=spread, random_state=0)
    return centred_unit(points.astype(np.float32), subtract_mean=False), names


def stability(unit: np.ndarray, labels: np.ndarray, most: int = 1000) -> float:
    return resampling_stability(unit, labels, SETTINGS, most, 3, rng())


def test_separated_blobs_are_stable_and_noise_is_not():
    separated, names = blobs(0.02)
    assert stability(separated, names) == pytest.approx(1)
    noise = centred_unit(rng().normal(size=(600, 200)).astype(np.float32), subtract_mean=False)
    labels = spherical_kmeans(noise, 10, iterations=25, points_per_cluster=256, restarts=1, seed=1).labels
    assert stability(noise, labels) == pytest.approx(0, abs=0.05)
    assert stability(noise, labels, most=300) == pytest.approx(0, abs=0.1)


def test_a_large_corpus_is_as_stable_as_its_neighbourhoods():
    separated, names = blobs(0.02)
    assert stability(separated, names, most=250) == pytest.approx(1)


def test_a_neighbourhood_is_of_whole_clusters_the_nearest_to_one():
    angles = np.repeat([0, 10, 25, 45, 70, 100], [3, 5, 4, 6, 2, 5])  # degrees
    unit = np.stack([np.cos(np.radians(angles)), np.sin(np.radians(angles))], axis=1).astype(np.float32)
    found = {tuple(np.unique(angles[neighbourhood(unit, angles, 12, np.random.default_rng(seed))])) for seed in range(60)}
    # By hand: from each of the six on, the nearest others, until the next would make more than 12 utterances.
    assert found == {(0, 10, 25), (10, 25), (25, 45, 70), (45, 70), (70, 100)}
    np.testing.assert_array_equal(neighbourhood(unit, angles, 25, rng()), np.arange(25))


@pytest.mark.parametrize("labels", [np.zeros(600, int), np.arange(600) % 301])
def test_halves_that_cannot_be_clustered_have_no_stability(labels):
    assert np.isnan(stability(blobs(0.1)[0], labels))


@pytest.mark.parametrize("spread", [0.02, 0.3])
def test_silhouettes_are_scikit_learns(spread):
    unit, names = blobs(spread)
    labels = np.where(np.arange(600) < 3, 20 + np.arange(600), names)  # three that are alone
    expected = silhouette_samples(unit, labels, metric="cosine")
    np.testing.assert_allclose(silhouettes(unit, labels, np.arange(600)), expected, atol=2e-5)
    chosen = np.array([5, 0, 77])
    np.testing.assert_allclose(silhouettes(unit, labels, chosen), expected[chosen], atol=2e-5)


def test_one_cluster_has_no_silhouette():
    assert np.isnan(silhouettes(blobs(0.1)[0], np.zeros(600, int), np.arange(4))).all()


def test_effective_dimensions_count_directions():
    square = np.array([[1, 1, 0], [1, -1, 0], [-1, 1, 0], [-1, -1, 0]], float)
    assert effective_dimensions(square + 5) == pytest.approx(2)  # two directions of equal variance, wherever the mean is
    assert effective_dimensions(square * [1, 0, 0]) == pytest.approx(1)
    assert np.isnan(effective_dimensions(np.ones((4, 3))))
    embeddings = rng().normal(size=(300, 12)) * np.arange(1, 13)
    shares = PCA().fit(embeddings).explained_variance_ratio_
    assert effective_dimensions(embeddings.astype(np.float32)) == pytest.approx(1 / np.square(shares).sum(), rel=1e-5)


def test_a_corpus_larger_than_the_sample_is_measured_alike(monkeypatch):
    """Silhouettes of half of the utterances, against all members of all clusters."""
    unit, names = blobs(0.02)
    whole = geometry(unit, names, SETTINGS)
    monkeypatch.setattr("selfsv.diagnosis.measures.MOST_UTTERANCES", 300)
    sampled = geometry(unit, names, SETTINGS)
    assert whole["resampling_ari"] == pytest.approx(1)
    assert sampled["silhouette"] == pytest.approx(whole["silhouette"], abs=0.01)
    assert sampled["effective_dimensions"] == pytest.approx(whole["effective_dimensions"], rel=0.1)


def test_the_same_clusters_in_two_rounds_agree_wholly():
    labels = rng().integers(20, size=400)
    assert agreement_with_round_before(labels, 19 - labels) == {"previous_ari": pytest.approx(1), "previous_nmi": pytest.approx(1)}
    assert agreement_with_round_before(labels, rng().permutation(labels))["previous_ari"] == pytest.approx(0, abs=0.02)
    assert np.isnan(list(agreement_with_round_before(labels, None).values())).all()
