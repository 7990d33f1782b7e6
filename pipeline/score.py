"""Rule `score`: cosine and adaptive s-norm scores of one system on one trial list, and log-likelihood ratios."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from selfsv.artifacts import read_embeddings, read_table, write_table
from selfsv.errors import InputError
from selfsv.scoring.cohort import read_cohort
from selfsv.scoring.conditions import SAMPLE_RATE
from selfsv.scoring.cosine import unit_length
from selfsv.scoring.scored_trials import likelihood_ratios, score_trials
from selfsv.scoring.snorm import cohort_statistics
from selfsv.scoring.trial_checks import oddities, rejected_utterances
from selfsv.scoring.trials import locate, read_trials
from selfsv.settings.scoring import ScoreSettings
from selfsv.stage import parser, run

LOG = logging.getLogger("selfsv")


def main() -> None:
    """Read trials and embeddings, write one row of scores per trial."""
    arguments = parser(__doc__, inputs=("trials", "embeddings", "train_embeddings", "pseudo_labels"), outputs=("output",))
    arguments.add_argument("--manifest", type=Path, help="the test corpus's: why an utterance is missing, and lengths")
    arguments.add_argument("--calibration", type=Path, help="the system's; needs the manifest; without it there are no `llr`")
    args = arguments.parse_args()
    settings = ScoreSettings.read(args.settings)

    trials = read_trials(args.trials)
    for oddity in oddities(trials):
        LOG.warning("%s", oddity)
    utterances, embeddings = read_embeddings(args.embeddings)
    enroll, test = locate(trials, utterances, rejected_utterances(args.manifest))
    used, positions = np.unique(np.concatenate([enroll, test]), return_inverse=True)
    enroll, test = positions[: len(enroll)], positions[len(enroll) :]

    cohort = read_cohort(args.train_embeddings, args.pseudo_labels)
    if cohort.means.shape[1] != embeddings.shape[1]:
        sizes = f"of {embeddings.shape[1]} dimensions, those in {args.train_embeddings} of {cohort.means.shape[1]}"
        raise InputError(f"the embeddings in {args.embeddings} are {sizes}: extract both with one model")
    mean = cohort.mean if settings.subtract_mean else None
    directions = unit_length(embeddings[used], mean)
    statistics = cohort_statistics(directions, unit_length(cohort.means, mean), settings.cohort_top)
    scores = score_trials(directions, enroll, test, statistics)

    names = utterances[used]
    columns = {"enroll": names[enroll], "test": names[test], "target": trials.target, "cosine": scores.cosine, "snorm": scores.snorm}
    if args.calibration:
        if not args.manifest:
            arguments.error("--calibration needs --manifest")
        lengths = read_table(args.manifest, ["utterance", "num_samples"]).drop_duplicates("utterance").set_index("utterance")["num_samples"]
        seconds = lengths.reindex(names).to_numpy() / SAMPLE_RATE
        columns["llr"] = likelihood_ratios(args.calibration, scores, np.minimum(seconds[enroll], seconds[test]))
    write_table(args.output, pd.DataFrame(columns))


if __name__ == "__main__":
    run(main)
