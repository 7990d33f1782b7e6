"""Adaptive symmetric score normalisation (Matejka et al., 2017; paper Table X), with a cohort that knows no speakers."""

import logging

import numpy as np

LOG = logging.getLogger(__name__)

CHUNK_SCORES = 1 << 24  # cohort scores held at once: 64 MiB of float32
SMALLEST_DEVIATION = 1e-6


def cohort_statistics(embeddings: np.ndarray, cohort: np.ndarray, top: int, own: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each utterance's scores against the cohort members nearest to it.

    Args:
        embeddings: [U, D], of unit length.
        cohort: [C, D], of unit length.
        top: how many nearest members count; all of them where the cohort is smaller.
        own: [U] the member that each utterance belongs to, and is not compared with; None: they belong to none.

    Returns:
        Means and population standard deviations, [U] float32 each. A deviation of 0 (a cohort of one, or of copies)
        becomes 1: the score is then only shifted. Where an utterance's own member is the only one, mean 0 and deviation 1
        leave the score as it is.
    """
    members = len(cohort) - (own is not None)
    if top > members:
        LOG.warning("the cohort has %d members, fewer than the top %d: all of them normalise a score", members, top)
        top = members
    if not top:
        return np.zeros(len(embeddings), np.float32), np.ones(len(embeddings), np.float32)
    mean, deviation = np.empty((2, len(embeddings)), dtype=np.float32)
    rows = max(1, CHUNK_SCORES // len(cohort))
    for start in range(0, len(embeddings), rows):
        scores = embeddings[start : start + rows] @ cohort.T
        if own is not None:
            scores[np.arange(len(scores)), own[start : start + rows]] = -np.inf
        scores.partition(-top, axis=1)  # in place: a copy takes as long again
        nearest = scores[:, -top:]
        mean[start : start + rows] = nearest.mean(axis=1, dtype=np.float64)
        deviation[start : start + rows] = nearest.std(axis=1, dtype=np.float64)
    return mean, np.where(deviation < SMALLEST_DEVIATION, np.float32(1), deviation)


def normalised_scores(scores: np.ndarray, enroll: np.ndarray, test: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """The mean of each score's z-norm (enrolment side) and t-norm (test side).

    Args:
        scores: [N].
        enroll: [N] positions of the enrolment utterances in the statistics.
        test: [N] positions of the test utterances.
        mean: [U], from `cohort_statistics`.
        deviation: [U].

    Returns:
        [N] float32.
    """
    z_norm = (scores - mean[enroll]) / deviation[enroll]
    t_norm = (scores - mean[test]) / deviation[test]
    return ((z_norm + t_norm) / 2).astype(np.float32)
