"""One system's scores of each trial: cosine, adaptive s-norm, and how near both sides are to the cohort."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from selfsv.scoring.calibration import Rated, read_calibration
from selfsv.scoring.cosine import cosine_scores
from selfsv.scoring.snorm import cohort_statistics, normalised_scores


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


def score_members(
    directions: np.ndarray, clusters: np.ndarray, enroll: np.ndarray, test: np.ndarray, cohort: np.ndarray, top: int
) -> TrialScores:
    """Score N trials of training utterances, each without its own cluster in the cohort: a test speaker has none there, either.

    Args:
        directions: [U, D] embeddings of unit length. Only those that the trials use are compared with the cohort.
        clusters: [U] the place in the cohort of each one's cluster.
        enroll: [N] positions of the enrolment utterances in `directions`.
        test: [N] positions of the test utterances.
        cohort: [C, D] means of pseudo clusters, of unit length.
        top: how many nearest members of the cohort normalise a score.
    """
    used, positions = np.unique(np.concatenate([enroll, test]), return_inverse=True)
    statistics = cohort_statistics(directions[used], cohort, top, own=clusters[used])
    first, second = np.split(positions, 2)
    return score_trials(directions[used], first, second, statistics)


def likelihood_ratios(calibration: Path, scores: TrialScores, seconds: np.ndarray) -> np.ndarray:
    """[N] float32, by the calibration that a file `calibration.parquet` chooses; `seconds` [N]: of the trials' shorter sides."""
    chosen = read_calibration(calibration)
    return chosen.llr(Rated(getattr(scores, chosen.norm), seconds, scores.cohort_means)).astype(np.float32)
