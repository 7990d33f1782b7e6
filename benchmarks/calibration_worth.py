"""The worth of a calibration without labels: Cllr on a labelled list, its least value, and Cllr of calibrations that know the speakers.

    python benchmarks/calibration_worth.py --data results/demo/data --output worth.parquet results/systems/systems/*/iter_*/seed_*

Each folder holds `embeddings/`, `pseudo_labels.parquet` and `scores/` of one system, as benchmarks/ablation.smk and the workflow make
them. Three rules decide which pairs of training recordings are targets:

- sessions: by the cluster of most recordings of their session, as the workflow does;
- recordings: each by its own cluster;
- speakers: by its true speaker, which a calibration without labels cannot know.

`trials` is fitted to the labelled list itself, and no calibration of this form can do better there.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from selfsv.artifacts import read_embeddings, read_table, write_table
from selfsv.scoring.calibration import NORMS, Rated
from selfsv.scoring.calibration_fit import fitted
from selfsv.scoring.cluster_trials import cluster_trials
from selfsv.scoring.cohort import Cohort, read_cohort
from selfsv.scoring.conditions import SAMPLE_RATE
from selfsv.scoring.cosine import unit_length
from selfsv.scoring.likelihood_ratios import actual_dcf, cllr, min_cllr
from selfsv.scoring.scored_trials import score_trials
from selfsv.scoring.snorm import cohort_statistics
from selfsv.stage import run

TOP, PAIRS, SEED, PRIOR = 300, 100_000, 1, 0.05


def main() -> None:
    """Calibrate every system in every way, measure, print means."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folders", type=Path, nargs="+")
    arguments.add_argument("--data", type=Path, required=True, help="an experiment's data/, with its manifests and speakers")
    arguments.add_argument("--train", default="train", help="the training corpus")
    arguments.add_argument("--test", default="test", help="the trial list's corpus")
    arguments.add_argument("--trials", default="demo", help="the trial list")
    arguments.add_argument("--output", type=Path, required=True)
    args = arguments.parse_args()
    known = Known.of(args.data / args.train), Known.of(args.data / args.test)
    rows = pd.DataFrame([row for folder in args.folders for row in worth(folder, args, *known)])
    write_table(args.output, rows)
    print(rows.groupby(["norm", "quality", "pairs"], sort=False)[["cllr", "min_cllr", "actual_dcf"]].mean().round(3).to_markdown())


class Known(NamedTuple):
    """Lengths, sessions and speakers of a corpus's recordings, by their names."""

    seconds: pd.Series
    sessions: pd.Series
    speakers: pd.Series

    @classmethod
    def of(cls, corpus: Path) -> "Known":
        """From its manifest and its speakers."""
        manifest = read_table(corpus / "manifest.parquet", ["utterance", "num_samples", "session"]).set_index("utterance")
        speakers = read_table(corpus / "speakers.parquet", ["utterance", "speaker"]).set_index("utterance")["speaker"]
        return cls(manifest["num_samples"] / SAMPLE_RATE, manifest["session"], speakers)


def worth(folder: Path, args: argparse.Namespace, train: Known, test: Known) -> Iterator[dict[str, object]]:
    """A row per norm, with and without quality measures, and way to tell pairs apart."""
    cohort = read_cohort(folder / "embeddings" / f"{args.train}.parquet", folder / "pseudo_labels.parquet")
    trials = read_table(folder / "scores" / f"{args.trials}.parquet", ["enroll", "test", "target"])
    utterances, embeddings = read_embeddings(folder / "embeddings" / f"{args.test}.parquet")
    places = pd.Series(np.arange(len(utterances)), utterances)
    sides = places[trials["enroll"]].to_numpy(), places[trials["test"]].to_numpy()
    tested = rated(embeddings, *sides, cohort, test.seconds[utterances].to_numpy())
    target = trials["target"].to_numpy(bool)

    names = cohort.utterances
    alike = np.zeros(len(names))
    told = {
        "sessions": (cohort.members, train.sessions[names].to_numpy()),
        "recordings": (cohort.members, alike),
        "speakers": (pd.factorize(train.speakers[names])[0], alike),
    }
    fits = {}
    for pairs, (labels, sessions) in told.items():
        made = cluster_trials(labels, sessions, PAIRS, SEED)
        learnt = rated(cohort.embeddings, made.first, made.second, cohort, train.seconds[names].to_numpy(), cohort.members)
        fits[pairs] = learnt, made.target
    fits["trials"] = tested, target
    for pairs, (learnt, truth) in fits.items():
        for norm in NORMS:
            for quality in (False, True):
                ratios = fitted(learnt[norm], truth, norm, quality=quality).llr(tested[norm])
                figures = {"cllr": cllr(ratios, target), "actual_dcf": actual_dcf(ratios, target, PRIOR)}
                row = {"system": str(folder), "pairs": pairs, "norm": norm, "quality": quality, **figures}
                yield {**row, "min_cllr": min_cllr(tested[norm].scores, target)}


def rated(
    embeddings: np.ndarray, first: np.ndarray, second: np.ndarray, cohort: Cohort, seconds: np.ndarray, own: np.ndarray | None = None
) -> dict[str, Rated]:
    """Trials by norm, with the training corpus's mean subtracted."""
    directions = unit_length(embeddings, cohort.mean)
    members = unit_length(cohort.means, cohort.mean)
    statistics = cohort_statistics(directions, members, min(TOP, len(members) - 1), own)
    scores = score_trials(directions, first, second, statistics)
    return {norm: Rated(getattr(scores, norm), np.minimum(seconds[first], seconds[second]), scores.cohort_means) for norm in NORMS}


if __name__ == "__main__":
    run(main)
