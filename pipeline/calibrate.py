"""Rule `calibrate`: what turns one system's scores into log-likelihood ratios, from pairs of training recordings and no speaker label."""

import numpy as np

from selfsv.artifacts import read_table, write_table
from selfsv.errors import InputError
from selfsv.scoring.calibration import Rated
from selfsv.scoring.calibration_fit import calibration_table
from selfsv.scoring.cluster_trials import cluster_trials
from selfsv.scoring.cohort import read_cohort
from selfsv.scoring.conditions import SAMPLE_RATE
from selfsv.scoring.cosine import unit_length
from selfsv.scoring.scored_trials import score_members
from selfsv.settings.jobs import CalibrationJob
from selfsv.stage import parser, run


def main() -> None:
    """Score pairs within clusters and between them, fit, write."""
    args = parser(__doc__, inputs=("embeddings", "pseudo_labels", "manifest"), outputs=("output",)).parse_args()
    job = CalibrationJob.read(args.settings)
    corpus = read_cohort(args.embeddings, args.pseudo_labels)
    of = read_table(args.manifest, ["utterance", "session", "num_samples"]).set_index("utterance").reindex(corpus.utterances)
    if of["session"].isna().any():
        raise InputError(f"{args.manifest} does not name every utterance of {args.embeddings}: run the stage `extract` again")

    mean = corpus.mean if job.score.subtract_mean else None
    trials = cluster_trials(corpus.members, of["session"].to_numpy(), job.calibration.trials, job.seed)
    directions, cohort = (unit_length(vectors, mean) for vectors in (corpus.embeddings, corpus.means))
    scores = score_members(directions, corpus.members, trials.first, trials.second, cohort, job.score.cohort_top)
    lengths = of["num_samples"].to_numpy() / SAMPLE_RATE
    seconds = np.minimum(lengths[trials.first], lengths[trials.second])
    rated = {norm: Rated(getattr(scores, norm), seconds, scores.cohort_means) for norm in ("cosine", "snorm")}
    chosen = job.calibration.norm, job.calibration.quality_measures
    write_table(args.output, calibration_table(rated, trials, chosen, job.seed))


if __name__ == "__main__":
    run(main)
