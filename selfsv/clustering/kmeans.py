"""Spherical k-means with faiss (paper V-E1)."""

from dataclasses import dataclass

import faiss
import numpy as np

from selfsv.errors import InputError


@dataclass(frozen=True)
class Clustering:
    """Clusters of N embeddings."""

    labels: np.ndarray  # [N] int32, each one's cluster
    similarity: np.ndarray  # [N] float32, its cosine with the cluster's centroid
    centroids: np.ndarray  # [K, D] float32 of length 1


def spherical_kmeans(unit: np.ndarray, clusters: int, *, iterations: int, points_per_cluster: int, restarts: int, seed: int) -> Clustering:
    """k-means by cosine, with centroids kept at length 1.

    Args:
        unit: [N, D] float32 of length 1.
        clusters: K.
        points_per_cluster: centroids are found on at most this many embeddings per cluster; all are then assigned.

    Raises:
        InputError: there are fewer embeddings than clusters.
    """
    if clusters > len(unit):
        raise InputError(f"{clusters} clusters were asked for, but there are only {len(unit)} utterances: lower the number of clusters")
    kmeans = faiss.Kmeans(
        unit.shape[1],
        clusters,
        niter=iterations,
        nredo=restarts,
        spherical=True,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=points_per_cluster,
        gpu=faiss.get_num_gpus() > 0,
    )
    kmeans.train(unit)
    similarity, labels = kmeans.index.search(unit, 1)
    return Clustering(labels[:, 0].astype(np.int32), similarity[:, 0].astype(np.float32), np.asarray(kmeans.centroids))


def nearest_others(clustering: Clustering) -> np.ndarray:
    """[K] int64 of each cluster the other one with the nearest centroid, by cosine (SSPS, Lepage and Dehak 2025).

    An empty cluster is never the nearest. A single cluster is its own.
    """
    used = np.unique(clustering.labels)
    nearest = np.arange(len(clustering.centroids))
    if len(used) > 1:
        index = faiss.IndexFlatIP(clustering.centroids.shape[1])
        index.add(clustering.centroids[used])
        found = used[index.search(clustering.centroids[used], 2)[1]]  # [.., 2]: itself is one of both, but for centroids at one place
        nearest[used] = np.where(found[:, 0] == used, found[:, 1], found[:, 0])
    return nearest
