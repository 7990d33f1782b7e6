"""Pseudo labels from voices and faces together (paper IV-C2)."""

from collections.abc import Callable

import faiss
import numpy as np

from selfsv.clustering.kmeans import Clustering


def joint_clustering(voices: np.ndarray, faces: np.ndarray, cluster: Callable[[np.ndarray], Clustering]) -> Clustering:
    """Clusters of e_av = (e_a, e_v), the concatenation of both embeddings, each of length 1 before.

    An utterance without a face takes no part in finding the centroids and goes to the one whose voice half is nearest.

    Args:
        voices: [N, D] of length 1.
        faces: [N, F] of length 1, NaN where an utterance has no face.
        cluster: spherical k-means of [M, D + F] unit vectors.
    """
    seen = np.isfinite(faces).all(axis=1)
    result = cluster((np.concatenate([voices[seen], faces[seen]], axis=1) / np.sqrt(2)).astype(np.float32))
    labels, similarity = np.empty(len(voices), np.int32), np.empty(len(voices), np.float32)
    labels[seen], similarity[seen] = result.labels, result.similarity
    if not seen.all():
        halves = np.ascontiguousarray(result.centroids[:, : voices.shape[1]])
        faiss.normalize_L2(halves)
        nearest = faiss.IndexFlatIP(halves.shape[1])
        nearest.add(halves)
        cosine, cluster_of = nearest.search(np.ascontiguousarray(voices[~seen], dtype=np.float32), 1)
        labels[~seen], similarity[~seen] = cluster_of[:, 0], cosine[:, 0]
    return Clustering(labels, similarity, result.centroids)
