"""Mean embeddings of clusters: the cohort of the s-norm, and what agglomerative clustering merges."""

import numpy as np
from scipy import sparse


def cluster_means(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean embedding of each pseudo cluster that has members, in the order of the labels.

    Speaker labels must not be used, so pseudo clusters of the training set stand in for the usual cohort of speakers.

    Args:
        embeddings: [N, D], as extracted.
        labels: [N] integers.

    Returns:
        [C, D] float32.
    """
    _, clusters, counts = np.unique(labels, return_inverse=True, return_counts=True)
    weights = (1 / counts[clusters]).astype(np.float32)
    members = sparse.csr_array((weights, (clusters, np.arange(len(labels)))), shape=(len(counts), len(labels)))
    return np.asarray(members @ embeddings, dtype=np.float32)
