"""The map: neighbours stay neighbours, and it is made without openTSNE, too."""

import sys

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.datasets import make_blobs
from sklearn.manifold import trustworthiness

from selfsv.errors import InputError
from selfsv.explore import projection
from selfsv.explore.projection import project


@pytest.fixture(scope="module")
def unit() -> np.ndarray:
    points, _ = make_blobs(300, 32, centers=12, cluster_std=3.0, random_state=3)
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def test_t_sne_keeps_neighbours_better_than_pca(unit):
    pytest.importorskip("openTSNE", reason="openTSNE is not installed: the map is PCA")
    maps = {method: project(unit, method) for method in ("tsne", "pca")}
    kept = {method: trustworthiness(unit, found.points, n_neighbors=10) for method, found in maps.items()}
    assert maps["tsne"].method == "tsne" and kept["tsne"] > 0.9 and kept["tsne"] > kept["pca"]
    np.testing.assert_array_equal(project(unit, None).points, maps["tsne"].points)  # the default, and the same once more


def test_pca_is_the_singular_value_decomposition(unit):
    left, values, _ = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
    ours, expected = pdist(project(unit, "pca").points), pdist(left[:, :2] * values[:2])
    np.testing.assert_allclose(ours / ours.max(), expected / expected.max(), atol=1e-3)


def test_without_open_tsne_the_map_is_pca(unit, monkeypatch):
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    monkeypatch.setattr(projection, "find_spec", lambda _: None)
    found = project(unit)
    assert found.method == "pca" and trustworthiness(unit, found.points, n_neighbors=10) > 0.6
    with pytest.raises(InputError, match=r"pip install 'selfsv\[explore\]'"):
        project(unit, "tsne")


@pytest.mark.parametrize("shape", [(1, 8), (2, 8), (3, 1), (10, 8), (40, 2)])
@pytest.mark.parametrize("same", [False, True])
def test_few_and_equal_points_have_places(shape, same):
    points = np.ones(shape, np.float32) if same else np.random.default_rng(1).normal(size=shape).astype(np.float32)
    found = project(points).points
    assert found.shape == (shape[0], 2) and np.isfinite(found).all() and np.abs(found).max() <= 1 + 1e-6
