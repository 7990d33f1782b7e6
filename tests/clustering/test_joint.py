"""Joint clusters of voices and faces; utterances without a face."""

from functools import partial

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from selfsv.clustering.joint import joint_clustering
from selfsv.clustering.kmeans import spherical_kmeans
from selfsv.clustering.preparation import centred_unit
from selfsv.errors import InputError

PEOPLE, EACH = 12, 40
cluster = partial(spherical_kmeans, clusters=PEOPLE, iterations=25, points_per_cluster=256, restarts=20, seed=1)


@pytest.fixture(scope="module")
def people() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Who it is; voices that cannot tell people 2 n and 2 n + 1 apart; faces that cannot tell n and n + 6 apart."""
    rng = np.random.default_rng(1)
    who = np.repeat(np.arange(PEOPLE), EACH)
    voices, faces = np.eye(8)[who // 2], np.eye(8)[who % 6]
    noise = rng.normal(scale=0.08, size=(2, len(who), 8))
    return who, centred_unit(voices + noise[0], False), centred_unit(faces + noise[1], False)


def test_both_together_tell_apart_what_neither_does_alone(people):
    who, voices, faces = people
    scores = [normalized_mutual_info_score(who, cluster(half).labels) for half in (voices, faces)]
    assert max(scores) < 0.88
    assert normalized_mutual_info_score(who, joint_clustering(voices, faces, cluster).labels) > 0.96


def test_each_half_counts_the_same(people):
    """The cosine with a centroid is the mean of the halves' cosines, by hand."""
    _, voices, faces = people
    found = joint_clustering(voices, faces, cluster)
    own = found.centroids[found.labels]
    expected = ((voices * own[:, :8]).sum(axis=1) + (faces * own[:, 8:]).sum(axis=1)) / np.sqrt(2)
    np.testing.assert_allclose(found.similarity, expected, atol=1e-5)


def test_an_utterance_without_a_face_joins_the_nearest_voice(people):
    who, voices, faces = people
    hidden = faces.copy()
    unseen = np.arange(len(who)) % 7 == 0
    hidden[unseen] = np.nan
    found = joint_clustering(voices, hidden, cluster)
    halves = found.centroids[:, :8] / np.linalg.norm(found.centroids[:, :8], axis=1, keepdims=True)
    np.testing.assert_array_equal(found.labels[unseen], (voices[unseen] @ halves.T).argmax(axis=1))
    np.testing.assert_allclose(found.similarity[unseen], (voices[unseen] @ halves.T).max(axis=1), atol=1e-6)
    assert normalized_mutual_info_score(who[~unseen], found.labels[~unseen]) > 0.95
    # A voice that two people share can only go to one of the two.
    majority = {label: np.bincount(who[~unseen][found.labels[~unseen] == label]).argmax() for label in set(found.labels)}
    assert all(majority[label] // 2 == person // 2 for label, person in zip(found.labels[unseen], who[unseen], strict=True))


def test_too_few_faces_are_an_error(people):
    _, voices, faces = people
    hidden = np.full_like(faces, np.nan)
    hidden[:5] = faces[:5]
    with pytest.raises(InputError, match="12 clusters were asked for"):
        joint_clustering(voices, hidden, cluster)
