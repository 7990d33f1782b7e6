"""Oddities of a trial list, found before hours of work go into it."""

from pathlib import Path

import pandas as pd

from selfsv.artifacts import read_table
from selfsv.scoring.trials import Trials, utterance_of


def one_kind(trials: Trials) -> str | None:
    """`target` or `non-target` where all trials are of that kind, so that they have no error rates; else None."""
    if not trials.target.any():
        return "non-target"
    return "target" if trials.target.all() else None


def oddities(trials: Trials) -> list[str]:
    """Count the trials that weigh in the error rates and may not be meant: a sentence for each kind."""
    table = pd.DataFrame(
        {"enroll": list(map(utterance_of, trials.enroll)), "test": list(map(utterance_of, trials.test)), "target": trials.target}
    )
    repeats = int(table.duplicated().sum())
    both = int((table.drop_duplicates().groupby(["enroll", "test"]).size() > 1).sum())
    own = int((table["enroll"] == table["test"]).sum())
    total = f"{len(table):,} trials"
    counts = {
        f"{repeats:,} of {total} repeat an earlier one": repeats,
        f"{own:,} of {total} compare an utterance with itself": own,
        f"{both:,} pairs of utterances have trials of both labels": both,
    }
    return [f"{trials.source}: {sentence}" for sentence, count in counts.items() if count]


def rejected_utterances(manifest: Path | None) -> dict[str, str]:
    """Reasons, by utterance, of what the manifest rejects."""
    if manifest is None:
        return {}
    rows = read_table(manifest, ["utterance", "status", "reason"])
    rows = rows[rows["status"] != "ok"]
    return dict(zip(rows["utterance"], rows["reason"], strict=True))
