"""One system's scores of each trial: cosine, adaptive s-norm, and how near both sides are to the cohort."""

from typing import NamedTuple

import numpy as np

from selfsv.scoring.cosine import cosine_scores
from selfsv.scoring.snorm import normalised_scores


class TrialScores(NamedTuple):
    """Of N trials."""

    cosine: np.ndarray  # [N] float32
    snorm: np.ndarray  # [N] float32
    cohort_means: np.ndarray  # [N] float32, mean over both sides of the cosines with their nearest cohort members


def score_trials(directions: np.ndarray, enroll: np.ndarray, test: np.ndarray, statistics: tuple[np.ndarray, np.ndarray]) -> TrialScores:
    """Score N trials.

    Args:
        directions: [U, D] embeddings of unit length.
        enroll: [N] positions of the enrolment utterances in `directions`.
        test: [N] positions of the test utterances.
        statistics: of the utterances, from `cohort_statistics`.
    """
    cosine = cosine_scores(directions, enroll, test)
    means = statistics[0]
    return TrialScores(cosine, normalised_scores(cosine, enroll, test, *statistics), (means[enroll] + means[test]) / 2)
