"""Pseudo labels from embeddings, as the settings ask for them: of voices, of faces, or of both (paper V-E1, IV-C2)."""

import logging
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from selfsv.clustering.joint import joint_clustering
from selfsv.clustering.kmeans import Clustering, spherical_kmeans
from selfsv.clustering.preparation import centred_unit
from selfsv.settings.clustering import ClusterSettings

log = logging.getLogger("selfsv")
ALIKE = 1e-4  # embeddings of one recording differ by less in each dimension, whatever batches they were in


def cluster(embeddings: np.ndarray, settings: ClusterSettings, seed: int) -> Clustering:
    """Cluster [N, D] embeddings after what the settings do to them first."""
    return _clustering(settings, seed)(_prepared(embeddings, settings))


def cluster_jointly(voices: np.ndarray, faces: np.ndarray, settings: ClusterSettings, seed: int) -> Clustering:
    """Cluster both embeddings of each utterance together; faces [N, F] are NaN where there is none."""
    return joint_clustering(_prepared(voices, settings), _prepared(faces, settings), _clustering(settings, seed))


def label_table(utterances: np.ndarray, clustering: Clustering, clusters: int, embeddings: np.ndarray) -> pd.DataFrame:
    """The rows of `pseudo_labels.parquet`. Labels are numbered without gaps, so that a classifier has no class without members.

    Args:
        clusters: how many were asked for; with fewer, a warning says why.
        embeddings: [N, D] what was clustered.
    """
    used, labels = np.unique(clustering.labels, return_inverse=True)
    if len(used) < clusters:
        log.warning("%s", _empty_clusters(len(used), clusters, embeddings))
    return pd.DataFrame({"utterance": utterances, "label": labels.astype(np.int32), "similarity": clustering.similarity})


def _prepared(embeddings: np.ndarray, settings: ClusterSettings) -> np.ndarray:
    return centred_unit(embeddings, subtract_mean=settings.subtract_mean, whitening=settings.whitening)


def _clustering(settings: ClusterSettings, seed: int) -> Callable[[np.ndarray], Clustering]:
    """The clustering of unit vectors: k-means, or k-means into cells that are then merged."""
    kmeans = partial(
        spherical_kmeans,
        iterations=settings.iterations,
        points_per_cluster=settings.points_per_cluster,
        restarts=settings.restarts,
        seed=seed,
    )
    finer, linkage = settings.agglomerative.centroids, settings.agglomerative.linkage
    if finer is None:
        return partial(kmeans, clusters=settings.clusters)

    from selfsv.clustering.agglomerative import agglomerative_clustering, each_alone  # torch takes seconds to load

    def merged(unit: np.ndarray) -> Clustering:
        cells = each_alone(unit) if len(unit) <= finer else kmeans(unit, clusters=finer)
        return agglomerative_clustering(unit, cells, settings.clusters, linkage)

    return merged


def _empty_clusters(used: int, clusters: int, embeddings: np.ndarray) -> str:
    """Words on clusters without members, most often a corpus that holds its recordings several times."""
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    rounded = np.rint(unit / ALIKE).astype(np.int16)
    _, counts = np.unique(rounded.view(f"V{rounded[0].nbytes}"), return_counts=True)
    identical = int(counts[counts > 1].sum())
    words = f"{used} of {clusters} clusters have members; {identical} of {len(unit)} utterances are identical to another"
    advice = "remove copies of recordings from the corpus" if identical else "lower 'cluster.clusters'"
    return f"{words}: {advice}"
