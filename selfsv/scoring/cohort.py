"""The training corpus's mean and its pseudo clusters' means, which scores are normalised with."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from selfsv.artifacts import read_embeddings, read_labels
from selfsv.cluster_means import cluster_means
from selfsv.errors import InputError


class Cohort(NamedTuple):
    """A training corpus and its pseudo clusters."""

    utterances: np.ndarray  # [U] names
    embeddings: np.ndarray  # [U, D] as extracted
    members: np.ndarray  # [U] the cluster of each, 0 … C - 1: clusters without utterances are left out
    means: np.ndarray  # [C, D] float32, the clusters' mean embeddings
    mean: np.ndarray  # [D] float64, of all embeddings


def read_cohort(train_embeddings: Path, pseudo_labels: Path) -> Cohort:
    """The training corpus in these two files.

    Raises:
        InputError: they are not about the same utterances.
    """
    utterances, embeddings = read_embeddings(train_embeddings)
    labels = read_labels(pseudo_labels)
    if len(labels) != len(utterances) or not (labels["utterance"].to_numpy() == utterances).all():
        labels = labels.set_index("utterance").reindex(utterances).reset_index()
    if labels["label"].isna().any() or not len(labels):
        raise InputError(f"{pseudo_labels} does not label every utterance of {train_embeddings}: run the stage `cluster` again")
    members = np.unique(labels["label"].to_numpy(), return_inverse=True)[1]
    return Cohort(utterances, embeddings, members, cluster_means(embeddings, members), embeddings.mean(axis=0, dtype=np.float64))
