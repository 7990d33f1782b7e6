"""Spherical k-means with faiss (paper V-E1)."""

from dataclasses import dataclass

import faiss
import numpy as np

from pipeline.errors import InputError


@dataclass(frozen=True)
class Clustering:
    """Clusters of N embeddings."""

    labels: np.ndarray  # [N] int32, each one's cluster
    similarity: np.ndarray  # [N] float32, its cosine with the cluster's centroid
    centroids: np.ndarray  # [K, D] float32 of length 1


def centred_unit(embeddings: np.ndarray, subtract_mean: bool) -> np.ndarray:
    """[N, D] embeddings of length 1, after the subtraction of their mean if asked for. Rows of NaN stay so and do not count."""
    shifted = embeddings - np.nanmean(embeddings, axis=0) if subtract_mean else embeddings
    lengths = np.linalg.norm(shifted, axis=1, keepdims=True)
    return (shifted / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)


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
