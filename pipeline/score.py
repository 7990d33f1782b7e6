"""Stage `score`: cosine and adaptive s-norm scores of one system on one trial list."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from selfsv.artifacts import read_embeddings, read_table, write_table
from selfsv.errors import InputError
from selfsv.scoring.cohort import read_cohort
from selfsv.scoring.cosine import cosine_scores, unit_length
from selfsv.scoring.snorm import cohort_statistics, normalised_scores
from selfsv.scoring.trial_checks import oddities
from selfsv.scoring.trials import locate, read_trials
from selfsv.settings.scoring import ScoreSettings
from selfsv.stage import parser, run

LOG = logging.getLogger("selfsv")


def main() -> None:
    """Read trials and embeddings, write one row of scores per trial."""
    arguments = parser(__doc__, inputs=("trials", "embeddings", "train_embeddings", "pseudo_labels"), outputs=("output",))
    arguments.add_argument("--manifest", type=Path, help="the test corpus's manifest, to explain why an utterance is missing")
    args = arguments.parse_args()
    settings = ScoreSettings.read(args.settings)

    trials = read_trials(args.trials)
    for oddity in oddities(trials):
        LOG.warning("%s", oddity)
    utterances, embeddings = read_embeddings(args.embeddings)
    enroll, test = locate(trials, utterances, rejected_utterances(args.manifest))
    used, positions = np.unique(np.concatenate([enroll, test]), return_inverse=True)
    enroll, test = positions[: len(enroll)], positions[len(enroll) :]

    cohort, train_mean = read_cohort(args.train_embeddings, args.pseudo_labels)
    if cohort.shape[1] != embeddings.shape[1]:
        sizes = f"of {embeddings.shape[1]} dimensions, those in {args.train_embeddings} of {cohort.shape[1]}"
        raise InputError(f"the embeddings in {args.embeddings} are {sizes}: extract both with one model")
    mean = train_mean if settings.subtract_mean else None
    units = unit_length(embeddings[used], mean)
    cosine = cosine_scores(units, enroll, test)
    statistics = cohort_statistics(units, unit_length(cohort, mean), settings.cohort_top)
    snorm = normalised_scores(cosine, enroll, test, *statistics)

    names = utterances[used]
    columns = {"enroll": names[enroll], "test": names[test], "target": trials.target, "cosine": cosine, "snorm": snorm}
    write_table(args.output, pd.DataFrame(columns))


def rejected_utterances(manifest: Path | None) -> dict[str, str]:
    """Reasons, by utterance, of what the manifest rejects."""
    if manifest is None:
        return {}
    rows = read_table(manifest, ["utterance", "status", "reason"])
    rows = rows[rows["status"] != "ok"]
    return dict(zip(rows["utterance"], rows["reason"], strict=True))


if __name__ == "__main__":
    run(main)
