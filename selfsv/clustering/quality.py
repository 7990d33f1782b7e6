"""How clusters look, and how well they match speakers where these are known. Figures only: nothing is trained on them."""

import numpy as np
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix


def cluster_sizes(labels: np.ndarray) -> np.ndarray:
    """How many members each cluster 0 … max(labels) has, [K] int64; an empty cluster has 0."""
    return np.bincount(labels)


def normalised_mutual_information(speakers: np.ndarray, labels: np.ndarray) -> float:
    """Mutual information of speakers and clusters over the mean of their entropies: 0 unrelated, 1 the same partition."""
    return float(normalized_mutual_info_score(speakers, labels, average_method="arithmetic"))


def purity(speakers: np.ndarray, labels: np.ndarray) -> float:
    """The fraction of utterances that belong to the most frequent speaker of their cluster.

    It grows with the number of clusters (clusters of one are pure), so compare it at equal numbers only.
    """
    table = contingency_matrix(speakers, labels, sparse=True)  # a dense one of 5,994 speakers and 7,500 clusters takes 360 MB
    return float(table.max(axis=0).sum() / table.sum())
