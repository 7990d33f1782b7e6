"""Internal validation of embeddings and their clusters: what can be said of them without knowing who speaks."""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from selfsv.clustering.kmeans import spherical_kmeans
from selfsv.clustering.preparation import centred_unit
from selfsv.clustering.quality import normalised_mutual_information
from selfsv.settings.jobs import ReclusteringSettings

PERMUTATIONS = 10


class SessionAgreement(NamedTuple):
    """How alike clusters and sessions are."""

    ami: float  # 1 the same partition, 0 what chance gives
    nmi: float
    nmi_chance: float  # of the same labels, shuffled


def session_agreement(labels: np.ndarray, sessions: np.ndarray, rng: np.random.Generator) -> SessionAgreement:
    """Mutual information of clusters and sessions; NaN where there is one session, or where no two utterances share one.

    The adjusted one is Vinh, Epps and Bailey's (JMLR 2010, Eq. 6), with the arithmetic mean of the entropies.

    Args:
        labels: [N] integers.
        sessions: [N] integers.
    """
    if not informative(sessions):
        return SessionAgreement(*[float("nan")] * 3)
    shuffled = [normalised_mutual_information(sessions, rng.permutation(labels)) for _ in range(PERMUTATIONS)]
    ami = adjusted_mutual_info_score(sessions, labels)
    return SessionAgreement(float(ami), normalised_mutual_information(sessions, labels), float(np.mean(shuffled)))


def informative(sessions: np.ndarray) -> bool:
    """Whether there are several sessions, and one of several utterances: else they are no information."""
    return 1 < len(np.unique(sessions)) < len(sessions)


def whole_sessions(sessions: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """[M] positions of all utterances of sessions drawn at random, as many sessions as fit into `most` utterances, one at least."""
    if len(sessions) <= most:
        return np.arange(len(sessions))
    names, size = np.unique(sessions, return_counts=True)
    order = rng.permutation(len(names))
    fitting = max(int(np.searchsorted(np.cumsum(size[order]), most, side="right")), 1)
    return np.flatnonzero(np.isin(sessions, names[order[:fitting]]))


def resampling_stability(
    unit: np.ndarray, labels: np.ndarray, settings: ReclusteringSettings, most: int, repeats: int, rng: np.random.Generator
) -> float:
    """The mean adjusted Rand index of two clusterings of the same embeddings, whose centroids come from two random halves of them.

    1: the same clusters whichever half is seen; 0: what chance gives. After Lange et al. (Neural Computation 2004). There are as many
    clusters as pseudo labels. Each pair of halves is of a neighbourhood, if the corpus is larger than that.

    Args:
        unit: [N, D] of length 1.
        labels: [N] integers, the pseudo labels.
        most: utterances of a neighbourhood.
        repeats: how many pairs of halves.

    Returns:
        NaN where a half has fewer embeddings than clusters, or for a single cluster.
    """
    regions = [neighbourhood(unit, labels, most, rng) for _ in range(repeats)]
    return float(np.mean([_agreement_of_halves(unit[region], len(np.unique(labels[region])), settings, rng) for region in regions]))


def _agreement_of_halves(unit: np.ndarray, clusters: int, settings: ReclusteringSettings, rng: np.random.Generator) -> float:
    if not 1 < clusters <= len(unit) // 2:
        return float("nan")
    effort = {"iterations": settings.iterations, "points_per_cluster": settings.points_per_cluster, "restarts": settings.restarts}
    halves, seeds = np.array_split(rng.permutation(len(unit)), 2), rng.integers(1 << 30, size=2)
    found = [spherical_kmeans(unit[half], clusters, seed=int(seed), **effort) for half, seed in zip(halves, seeds, strict=True)]
    return float(adjusted_rand_score(*(np.argmax(unit @ clustering.centroids.T, axis=1) for clustering in found)))


def neighbourhood(unit: np.ndarray, labels: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """[M] positions of all members of a cluster drawn at random and of those nearest to it, as many as fit into `most`, two at least.

    Utterances drawn at random would be too few to a cluster. Clusters drawn at random would lack those that they are confused with.
    """
    if len(unit) <= most:
        return np.arange(len(unit))
    cluster, size, sums = _clusters(unit, labels)
    centroids = centred_unit(sums, subtract_mean=False)
    nearest = np.argsort(-(centroids @ centroids[rng.integers(len(size))]), kind="stable")
    fitting = max(int(np.searchsorted(np.cumsum(size[nearest]), most, side="right")), 2)
    return np.flatnonzero(np.isin(cluster, nearest[:fitting]))


def _clusters(unit: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cluster of each embedding, numbered without gaps, [N]; of each cluster its size, [K], and the sum of its members, [K, D]."""
    _, cluster, size = np.unique(labels, return_inverse=True, return_counts=True)
    ones, places = np.ones(len(cluster), np.float32), (cluster, np.arange(len(cluster)))
    return cluster, size, np.asarray(sparse.csr_array((ones, places), shape=(len(size), len(cluster))) @ unit)


def effective_dimensions(embeddings: np.ndarray) -> float:
    """(Σλ)² / Σλ² of the variances λ of the principal directions of [N, D] embeddings; NaN where they are all alike."""
    covariance = np.atleast_2d(np.cov(embeddings.astype(np.float64), rowvar=False))
    total = np.square(covariance).sum()
    return float(np.trace(covariance) ** 2 / total) if total > 0 else float("nan")


def silhouettes(unit: np.ndarray, labels: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """[M] silhouette coefficients by cosine distance (Rousseeuw 1987) of some embeddings, against all members of all clusters.

    The mean cosine with a cluster's members is the cosine with their mean. So nothing needs all pairs, which
    `sklearn.metrics.silhouette_samples` forms: its sample of a few thousand would leave most of thousands of clusters empty.

    Args:
        unit: [N, D] of length 1.
        labels: [N] integers.
        chosen: [M] positions of those to measure.
    """
    cluster, size, sums = _clusters(unit, labels)
    if len(size) < 2:
        return np.full(len(chosen), np.nan)
    own, rows = cluster[chosen], np.arange(len(chosen))
    similarity = unit[chosen].astype(np.float64) @ sums.T.astype(np.float64)
    others = size[own] - 1
    inner = 1 - (similarity[rows, own] - np.square(unit[chosen].astype(np.float64)).sum(axis=1)) / np.maximum(others, 1)
    outer = 1 - similarity / size
    outer[rows, own] = np.inf
    nearest = outer.min(axis=1)
    largest = np.maximum(np.maximum(inner, nearest), np.finfo(np.float64).tiny)
    return np.where(others > 0, (nearest - inner) / largest, 0.0)  # alone in its cluster: 0 by definition
