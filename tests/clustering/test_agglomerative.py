"""Agglomerative clustering against scipy's, and weights against repeated points."""

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import cut_tree, fcluster, linkage
from sklearn.metrics import adjusted_rand_score

from selfsv.clustering.agglomerative import agglomerate, agglomerative_clustering, cut
from selfsv.clustering.kmeans import Clustering
from selfsv.clustering.pseudo_labels import cluster, cluster_jointly, label_table
from selfsv.errors import SettingsError
from selfsv.settings.clustering import ClusterSettings
from selfsv.settings.section import validated

METRICS = {"ward": "euclidean", "average": "cosine"}


def unit(count: int, dimensions: int = 24, seed: int = 0) -> np.ndarray:
    """Points on the sphere around some centres, as embeddings are."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(12, dimensions))
    points = centres[draw.integers(12, size=count)] + draw.normal(size=(count, dimensions))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["ward", "average"])
@pytest.mark.parametrize("count", [2, 3, 10, 300, 1500])
def test_the_tree_is_scipys(kind, count):
    points = unit(count)
    tree = agglomerate(torch.from_numpy(points), torch.ones(count), kind)
    expected = linkage(points, kind, metric=METRICS[kind])
    np.testing.assert_array_equal(np.stack([tree.first, tree.second], axis=1), expected[:, :2])
    np.testing.assert_allclose(tree.height, expected[:, 2], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["ward", "average"])
@pytest.mark.parametrize("clusters", [1, 2, 12, 100, 400])
def test_the_clusters_are_scipys(kind, clusters):
    points = unit(400, seed=1)
    tree = agglomerate(torch.from_numpy(points), torch.ones(400), kind)
    expected = cut_tree(linkage(points, kind, metric=METRICS[kind]), clusters)[:, 0]
    np.testing.assert_array_equal(cut(tree, clusters), expected)
    assert len(np.unique(expected)) == clusters


@pytest.mark.parametrize("kind", ["ward", "average"])
def test_a_weight_is_as_good_as_copies(kind):
    points, copies = unit(150, seed=2), np.random.default_rng(0).integers(1, 9, 150)
    tree = agglomerate(torch.from_numpy(points), torch.from_numpy(copies), kind)
    repeated = linkage(np.repeat(points, copies, axis=0), kind, metric=METRICS[kind])
    copied = copies.sum() - 150  # merges of copies with each other, at height 0
    np.testing.assert_allclose(repeated[:copied, 2], 0, atol=1e-7)
    np.testing.assert_allclose(tree.height, repeated[copied:, 2], rtol=1e-6)
    of_copies = fcluster(repeated, 20, "maxclust")
    firsts = np.cumsum(copies) - copies
    assert adjusted_rand_score(cut(tree, 20), of_copies[firsts]) == 1.0


@pytest.mark.parametrize("kind", ["ward", "average"])
def test_single_precision_finds_the_same_clusters(kind):
    points = unit(600, seed=3)
    double, single = (agglomerate(torch.from_numpy(points).to(dtype), torch.ones(600), kind) for dtype in (torch.float64, torch.float32))
    np.testing.assert_allclose(single.height, double.height, rtol=1e-3, atol=2e-3)
    assert adjusted_rand_score(cut(single, 12), cut(double, 12)) > 0.99


@pytest.mark.parametrize("kind", ["ward", "average"])
def test_points_at_one_place_are_merged_first(kind):
    """Ties, and distances that are 0 but for rounding, end no chain and leave no merge above a later one."""
    points = np.repeat(unit(8, seed=4), 6, axis=0)
    tree = agglomerate(torch.from_numpy(points).float(), torch.ones(48), kind)
    assert (np.diff(tree.height) >= 0).all()
    labels = cut(tree, 8).reshape(8, 6)
    assert (labels == labels[:, :1]).all() and len(np.unique(labels)) == 8


def test_one_point_is_one_cluster():
    tree = agglomerate(torch.ones(1, 3), torch.ones(1), "ward")
    assert len(tree.height) == 0
    assert cut(tree, 1).tolist() == [0]


@pytest.mark.parametrize("kind", ["ward", "average"])
def test_cells_are_merged_as_their_members_would_be(kind):
    """Cells of near-copies: scipy's clusters of all members."""
    draw = np.random.default_rng(5)
    members = np.repeat(np.arange(80), draw.integers(1, 6, 80))
    noisy = unit(80, seed=5)[members] + 0.002 * draw.normal(size=(len(members), 24))
    embeddings = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
    cells = Clustering(members.astype(np.int32), np.ones(len(members), np.float32), embeddings[:80])
    found = agglomerative_clustering(embeddings, cells, 12, kind)
    expected = fcluster(linkage(embeddings.astype(np.float64), kind, metric=METRICS[kind]), 12, "maxclust")
    assert adjusted_rand_score(found.labels, expected) == 1.0
    for label in range(12):
        mean = embeddings[found.labels == label].mean(axis=0)
        np.testing.assert_allclose(found.centroids[label], mean / np.linalg.norm(mean), atol=1e-5)
        cosine = embeddings[found.labels == label] @ found.centroids[label]
        np.testing.assert_allclose(found.similarity[found.labels == label], cosine, atol=1e-5)


@pytest.mark.parametrize("centroids", [1000, 60])
def test_pseudo_labels_are_merged_where_the_settings_say_so(centroids):
    """With as many centroids as utterances, of which each is a cell; and with fewer, which k-means finds first."""
    embeddings = unit(300, seed=6).astype(np.float32) * 3
    settings = ClusterSettings(clusters=12, agglomerative={"centroids": centroids, "linkage": "average"})
    found = cluster(embeddings, settings, seed=1)
    expected = fcluster(linkage(embeddings.astype(np.float64), "average", metric="cosine"), 12, "maxclust")
    assert len(np.unique(found.labels)) == 12
    assert adjusted_rand_score(found.labels, expected) == 1.0 if centroids > 300 else adjusted_rand_score(found.labels, expected) > 0.7
    table = label_table(np.arange(300), found, 12, embeddings)
    assert table["similarity"].between(-1, 1.0001).all()


def test_voices_and_faces_are_merged_together():
    voices, faces = (unit(200, seed=seed).astype(np.float32) for seed in (7, 8))
    faces[::7] = np.nan
    found = cluster_jointly(voices, faces, ClusterSettings(clusters=9, agglomerative={"centroids": 500}), seed=1)
    seen = np.isfinite(faces).all(axis=1)
    both = np.concatenate([voices[seen], faces[seen]], axis=1) / np.sqrt(2)
    expected = fcluster(linkage(both.astype(np.float64), "ward"), 9, "maxclust")
    assert adjusted_rand_score(found.labels[seen], expected) == 1.0
    assert (
        found.labels[~seen] == (voices[~seen] @ found.centroids[:, :24].T / np.linalg.norm(found.centroids[:, :24], axis=1)).argmax(axis=1)
    ).all()


def test_fewer_centroids_than_clusters_are_refused():
    with pytest.raises(SettingsError, match="50 cannot be merged into 60 clusters"):
        validated(ClusterSettings, {"clusters": 60, "agglomerative": {"centroids": 50}})
