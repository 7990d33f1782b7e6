"""Spherical k-means: what it finds, against scikit-learn and its own definition."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from selfsv.clustering import preparation
from selfsv.clustering.kmeans import Clustering, nearest_others, spherical_kmeans
from selfsv.clustering.preparation import centred_unit
from selfsv.errors import InputError

OPTIONS = {"iterations": 20, "points_per_cluster": 256, "restarts": 3, "seed": 1}


def directions(seed: int, groups: int = 8, each: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Points around random directions, at random distances from the origin."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(groups), each)
    points = rng.normal(size=(groups, 24))[labels] + 0.15 * rng.normal(size=(len(labels), 24))
    return points * rng.uniform(0.1, 10, size=(len(labels), 1)), labels


def test_directions_are_found_whatever_the_length():
    points, labels = directions(0)
    found = spherical_kmeans(centred_unit(points, subtract_mean=False), 8, **OPTIONS)
    assert adjusted_rand_score(labels, found.labels) == 1.0


def test_similarity_is_the_cosine_with_the_mean_direction_of_the_cluster():
    points, _ = directions(1)
    unit = centred_unit(points, subtract_mean=False)
    found = spherical_kmeans(unit, 8, **OPTIONS)
    for label in range(8):
        members = unit[found.labels == label]
        centroid = members.sum(axis=0) / np.linalg.norm(members.sum(axis=0))
        np.testing.assert_allclose(found.similarity[found.labels == label], members @ centroid, atol=1e-3)


@pytest.mark.parametrize(
    ("angles", "labels", "expected"),
    [
        ([0, 10, 90, 110, 150], [0, 1, 2, 3, 4], [1, 0, 3, 2, 3]),
        ([0, 10, 90, 110, 150], [0, 2, 3, 4, 4], [2, 1, 3, 2, 3]),  # 1 is empty: nobody's nearest, and its own
        ([0, 180, 185], [0, 1, 2], [2, 2, 1]),
        ([20, 20, 70], [0, 1, 2], [1, 0, None]),  # two at one place are each other's
        ([20, 70], [1, 1], [0, 1]),  # no other
        ([20], [0], [0]),
    ],
)
def test_the_nearest_other_cluster_is_that_of_the_nearest_centroid(angles, labels, expected):
    radians = np.radians(angles)
    centroids = np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)
    nearest = nearest_others(Clustering(np.array(labels, dtype=np.int32), np.ones(len(labels), dtype=np.float32), centroids))
    assert [one if wanted is not None else None for one, wanted in zip(nearest, expected, strict=True)] == expected


def test_the_same_seed_gives_the_same_labels():
    unit = centred_unit(directions(2)[0], subtract_mean=False)
    one, other = (spherical_kmeans(unit, 20, **OPTIONS) for _ in range(2))
    np.testing.assert_array_equal(one.labels, other.labels)


def test_all_are_assigned_when_only_some_find_the_centroids():
    points, labels = directions(3, groups=4, each=500)
    found = spherical_kmeans(centred_unit(points, subtract_mean=False), 4, **{**OPTIONS, "points_per_cluster": 50})
    assert adjusted_rand_score(labels, found.labels) == 1.0


def test_mean_subtraction():
    points = directions(4)[0] + 100
    unit = centred_unit(points, subtract_mean=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    centred = points - points.mean(axis=0)
    np.testing.assert_allclose(unit, centred / np.linalg.norm(centred, axis=1, keepdims=True), atol=1e-5)


def test_whitening():
    points = np.random.default_rng(6).normal(size=(300, 24)) * np.geomspace(1, 20, 24) + 3
    whole = PCA(whiten=True).fit_transform(points)
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    unit = centred_unit(points, subtract_mean=False, whitening=1.0)
    np.testing.assert_allclose(unit @ unit.T, whole @ whole.T, atol=1e-4)  # cosines: axes may be turned
    pca = PCA().fit(points)
    half = pca.transform(points) / pca.explained_variance_**0.25
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    unit = centred_unit(points, subtract_mean=True, whitening=0.5)
    np.testing.assert_allclose(unit @ unit.T, half @ half.T, atol=1e-4)


@pytest.mark.parametrize(("subtract_mean", "whitening"), [(False, 0.0), (True, 0.0), (True, 0.5)])
def test_chunks_make_no_difference(monkeypatch, subtract_mean, whitening):
    points = directions(5)[0] + 1
    points[::7] = np.nan  # rows without a face
    whole = centred_unit(points, subtract_mean, whitening)
    monkeypatch.setattr(preparation, "CHUNK", 9)
    again = centred_unit(points, subtract_mean, whitening)
    np.testing.assert_allclose(again @ again[1], whole @ whole[1], atol=1e-6)  # cosines: axes may be turned
    np.testing.assert_array_equal(np.isnan(whole).all(axis=1), np.arange(len(points)) % 7 == 0)


def test_more_clusters_than_utterances_is_refused():
    with pytest.raises(InputError, match="50 clusters were asked for, but there are only 40 utterances"):
        spherical_kmeans(centred_unit(np.eye(40), subtract_mean=False), 50, **OPTIONS)
