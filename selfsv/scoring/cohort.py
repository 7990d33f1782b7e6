"""What an embedding is normalised with: the training corpus's mean, and its pseudo clusters' means."""

from pathlib import Path

import numpy as np

from selfsv.artifacts import read_embeddings, read_labels
from selfsv.errors import InputError
from selfsv.scoring.snorm import cluster_means


def read_cohort(train_embeddings: Path, pseudo_labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """The mean embedding of each pseudo cluster, [C, D], and that of the whole training corpus, [D].

    Raises:
        InputError: the two files are not about the same utterances.
    """
    utterances, embeddings = read_embeddings(train_embeddings)
    labels = read_labels(pseudo_labels)
    if len(labels) != len(utterances) or not (labels["utterance"].to_numpy() == utterances).all():
        labels = labels.set_index("utterance").reindex(utterances).reset_index()
    if labels["label"].isna().any() or not len(labels):
        raise InputError(f"{pseudo_labels} does not label every utterance of {train_embeddings}: run the stage `cluster` again")
    return cluster_means(embeddings, labels["label"].to_numpy()), embeddings.mean(axis=0, dtype=np.float64)
