"""Spherical k-means with faiss (paper V-E1)."""

from collections.abc import Iterator
from dataclasses import dataclass

import faiss
import numpy as np

from selfsv.errors import InputError

CHUNK = 1 << 16  # rows at once
SMALLEST_VARIANCE = 1e-4  # of a direction, as a share of the largest: whitening takes smaller ones for this


@dataclass(frozen=True)
class Clustering:
    """Clusters of N embeddings."""

    labels: np.ndarray  # [N] int32, each one's cluster
    similarity: np.ndarray  # [N] float32, its cosine with the cluster's centroid
    centroids: np.ndarray  # [K, D] float32 of length 1


def centred_unit(embeddings: np.ndarray, subtract_mean: bool, whitening: float = 0.0) -> np.ndarray:
    """[N, D] embeddings of length 1, after the subtraction of their mean if asked for. Rows of NaN stay so and do not count.

    Args:
        whitening: how far the variances of the principal directions are made alike: 0 leaves them, 1 makes them equal, and each is
            raised to the power of 1 - `whitening` between. Above 0 the mean is subtracted, too.
    """
    mean = _mean(embeddings) if subtract_mean or whitening else None
    turn = _turn(embeddings, mean, whitening) if mean is not None and whitening else None
    unit = np.empty(embeddings.shape, dtype=np.float32)
    for rows in chunks(len(embeddings)):  # each step of the whole corpus at once would be one more copy of it
        shifted = embeddings[rows] if mean is None else embeddings[rows] - mean
        shifted = shifted if turn is None else shifted @ turn
        lengths = np.linalg.norm(shifted, axis=1, keepdims=True)
        unit[rows] = shifted / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit


def _mean(embeddings: np.ndarray) -> np.ndarray:
    """[D] the mean of the rows that are not NaN."""
    total, count = np.zeros(embeddings.shape[1]), np.zeros(embeddings.shape[1])
    for rows in chunks(len(embeddings)):
        total += np.nansum(embeddings[rows], axis=0)
        count += np.count_nonzero(~np.isnan(embeddings[rows]), axis=0)
    return (total / count).astype(embeddings.dtype)


def _turn(embeddings: np.ndarray, mean: np.ndarray, whitening: float) -> np.ndarray:
    """[D, D] what whitens the centred rows when they are multiplied by it: their principal directions, each with its scale."""
    scatter = np.zeros((len(mean), len(mean)))
    for rows in chunks(len(embeddings)):
        centred = embeddings[rows] - mean
        centred = centred[~np.isnan(centred).any(axis=1)].astype(np.float64)
        scatter += centred.T @ centred
    variances, directions = np.linalg.eigh(scatter)
    scales = np.maximum(variances / variances[-1], SMALLEST_VARIANCE) ** (-whitening / 2)
    return (directions * scales).astype(embeddings.dtype)


def chunks(rows: int) -> Iterator[slice]:
    """Slices of so many rows that a step of one is no further copy of a corpus."""
    return (slice(start, start + CHUNK) for start in range(0, rows, CHUNK))


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
    """[K] int64 the cluster with the nearest centroid to each one's, by cosine (SSPS, Lepage and Dehak 2025).

    Empty clusters are nobody's nearest. A cluster is its own where there is no other.
    """
    used = np.unique(clustering.labels)
    nearest = np.arange(len(clustering.centroids))
    if len(used) > 1:
        index = faiss.IndexFlatIP(clustering.centroids.shape[1])
        index.add(clustering.centroids[used])
        found = used[index.search(clustering.centroids[used], 2)[1]]  # [.., 2]: itself is one of both, but for centroids at one place
        nearest[used] = np.where(found[:, 0] == used, found[:, 1], found[:, 0])
    return nearest
