"""Where crops are cut, and from which utterances: draws that depend on (seed, stage, epoch, utterance) alone."""

import numpy as np


def generator(seed: int, stage: int, epoch: int, utterance: int) -> np.random.Generator:
    """The random numbers of one visit of one utterance, whatever worker, batch or restart it happens in.

    Args:
        stage: 0 for pretraining, i for round i.
    """
    key = np.array([seed * 2**16 + stage, epoch * 2**40 + utterance], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def epoch_order(seed: int, stage: int, epoch: int, utterances: int) -> np.ndarray:
    """[utterances] a permutation: the order in which an epoch visits the corpus."""
    return generator(seed, stage, epoch, 2**40 - 1).permutation(utterances)


def stratified_positions(rng: np.random.Generator, crops: int) -> np.ndarray:
    """[crops] positions in [0, 1) of crops of one utterance that overlap as little as chance allows.

    The range of possible starts is cut into equal strata; each crop starts at a random point of a stratum of its own
    (METHOD: "overlapping as little as possible", paper V-D1).
    """
    return (rng.permutation(crops) + rng.random(crops)) / crops


class ClusterPartners:
    """Utterances that share a cluster, for the cluster-aware part of CA-DINO (paper III-B).

    Args:
        labels: [N] cluster of every utterance.
    """

    def __init__(self, labels: np.ndarray):
        self._labels = labels
        self._members = np.argsort(labels, kind="stable")
        self._ends = np.cumsum(np.bincount(labels))

    def draw(self, rng: np.random.Generator, utterance: int, crops: int) -> np.ndarray:
        """[crops] utterances: the first is the item itself, each other one is uniform over its cluster.

        In a cluster of one all are the item itself, which is plain DINO.
        """
        label = self._labels[utterance]
        start = self._ends[label - 1] if label else 0
        drawn = self._members[rng.integers(start, self._ends[label], size=crops)]
        drawn[0] = utterance
        return drawn
