"""The row of `diagnosis.parquet`: every measure of one system, from arrays in the order of the training corpus's utterances."""

import numpy as np
from sklearn.metrics import adjusted_rand_score

from selfsv.cluster_means import cluster_means
from selfsv.clustering.preparation import centred_unit
from selfsv.clustering.quality import normalised_mutual_information
from selfsv.diagnosis.pseudo_trials import PseudoTrials, part_trials, pseudo_error_rates, session_trials
from selfsv.diagnosis.validation import (
    effective_dimensions,
    informative,
    resampling_stability,
    session_agreement,
    silhouettes,
    whole_sessions,
)
from selfsv.scoring.cosine import unit_length
from selfsv.settings.jobs import ReclusteringSettings
from selfsv.settings.scoring import ScoreSettings

Row = dict[str, float]

SEED = 0  # not the experiment's: the same pseudo trials and samples for all rounds and all seeds of a corpus
MOST_UTTERANCES = 20_000  # of a sample: what is measured on it takes about a minute, whatever the corpus's size
MOST_PAIRS = 20_000  # targets by session, and non-targets
HALVINGS = 3


class PseudoScorer:
    """Scores pseudo trials as real ones are scored.

    Args:
        embeddings: [N, D] of the training corpus.
        labels: [N] its pseudo labels, whose clusters' means are the cohort.
    """

    def __init__(self, embeddings: np.ndarray, labels: np.ndarray, settings: ScoreSettings):
        self._mean = embeddings.mean(axis=0, dtype=np.float64) if settings.subtract_mean else None
        self._clusters = np.unique(labels, return_inverse=True)[1]
        self._cohort = unit_length(cluster_means(embeddings, labels), self._mean)
        self._top = settings.cohort_top

    def row(self, kind: str, trials: PseudoTrials, embeddings: np.ndarray, utterances: np.ndarray) -> Row:
        """The error rates of `trials`, and how many there are.

        Args:
            embeddings: [U, D], which the trials' positions are of.
            utterances: [U] the position in the training corpus of each.
        """
        directions, clusters = unit_length(embeddings, self._mean), self._clusters[utterances]
        by_cosine, by_snorm = pseudo_error_rates(trials, directions, clusters, self._cohort, self._top)
        targets = int(trials.target.sum())
        counts = {f"{kind}_targets": targets, f"{kind}_nontargets": len(trials.target) - targets}
        return {f"{kind}_eer": by_cosine, f"{kind}_eer_snorm": by_snorm, **counts}


def trials_of_parts(sessions: np.ndarray) -> PseudoTrials:
    """Trials of the first and the last parts of M recordings, whose sessions ([M] integers) are given."""
    return part_trials(sessions, MOST_PAIRS, np.random.default_rng(SEED))


def trials_of_sessions(sessions: np.ndarray) -> PseudoTrials:
    """Trials of N recordings, whose sessions ([N] integers) are given; none where sessions are no information."""
    return session_trials(sessions if informative(sessions) else sessions[:0], MOST_PAIRS, np.random.default_rng(SEED))


def agreement_with_sessions(labels: np.ndarray, sessions: np.ndarray) -> Row:
    """Agreement of clusters with sessions ([N] integers both), on whole sessions."""
    rng = np.random.default_rng(SEED)
    chosen = whole_sessions(sessions, MOST_UTTERANCES, rng)
    agreement = session_agreement(labels[chosen], sessions[chosen], rng)
    return {f"session_{name}": value for name, value in agreement._asdict().items()}


def agreement_with_round_before(labels: np.ndarray, before: np.ndarray | None) -> Row:
    """Agreement of the clusters with those that the round was trained on ([N] integers both); NaN without any."""
    if before is None:
        return {"previous_ari": float("nan"), "previous_nmi": float("nan")}
    return {"previous_ari": float(adjusted_rand_score(before, labels)), "previous_nmi": normalised_mutual_information(before, labels)}


def geometry(embeddings: np.ndarray, labels: np.ndarray, settings: ReclusteringSettings) -> Row:
    """Stability under resampling, silhouette and effective dimensions of a sample of the embeddings, [N, D].

    The first two are of embeddings that are prepared as for clustering.
    """
    rng = np.random.default_rng(SEED)
    unit = centred_unit(embeddings, subtract_mean=settings.subtract_mean, whitening=settings.whitening)
    chosen = np.arange(len(unit)) if len(unit) <= MOST_UTTERANCES else np.sort(rng.choice(len(unit), MOST_UTTERANCES, replace=False))
    return {
        "resampling_ari": resampling_stability(unit, labels, settings, MOST_UTTERANCES, HALVINGS, rng),
        "silhouette": float(silhouettes(unit, labels, chosen).mean()),
        "effective_dimensions": effective_dimensions(embeddings[chosen]),
    }
