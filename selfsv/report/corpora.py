"""The corpora in the report: their sizes, and the rejected files with the reasons."""

from typing import Any

import numpy as np
import pandas as pd

from selfsv.extensions import described
from selfsv.report.collect import Results

SAMPLE_RATE = 16_000
SHOWN_ROWS = 20  # of a table that could be as long as the corpus
TABLE_I_BATCHES = (16, 32, 64, 128, 256)


def corpus_summary(results: Results, name: str) -> dict[str, Any] | None:
    """Sizes of one corpus, its rejected files with the reasons, and how many files were not read."""
    manifest = results.manifest(name)
    if manifest is None:
        return None
    usable = manifest["status"] == "ok"
    seconds = manifest.loc[usable, "num_samples"].to_numpy(float) / SAMPLE_RATE
    return {
        "name": name,
        "training": name == results.settings.train_corpus,
        "utterances": len(seconds),
        "sessions": manifest.loc[usable, "session"].nunique(),
        "speakers": results.speakers(name),
        "hours": seconds.sum() / 3600,
        "seconds": np.quantile(seconds, [0, 0.5, 1]).tolist() if len(seconds) else [0.0] * 3,
        "left_out": described(left_out) if (left_out := results.left_out(name)) else "",
        **rejections(manifest[~usable]),
    }


def rejections(bad: pd.DataFrame) -> dict[str, Any]:
    """How many rows of a manifest were rejected, for which reasons, and the first of them."""
    return {
        "rejected": len(bad),
        "reasons": _counted(bad["reason"]),
        "examples": bad[["path", "reason"]].head(SHOWN_ROWS).to_dict("records"),
    }


def _counted(reasons: pd.Series) -> list[tuple[str, int]]:
    """Reasons and how often each occurs; those that differ in figures only (a length, a rate) are one."""
    kinds = reasons.astype(str).str.replace(r"\d+(\.\d+)?", "…", regex=True).value_counts()
    shown = [(str(reason), int(number)) for reason, number in kinds.head(SHOWN_ROWS).items()]
    rest = int(kinds.iloc[SHOWN_ROWS:].sum())
    return [*shown, *([("other reasons", rest)] if rest else [])]


def repeats(results: Results) -> dict[str, Any] | None:
    """The paper's Table I for the training corpus, where its number of speakers is known."""
    speakers = results.speakers(results.settings.train_corpus)
    if not speakers:
        return None
    batches = sorted({*TABLE_I_BATCHES, results.settings.pretrain.batch_size})
    own = results.settings.pretrain.batch_size
    return {"speakers": speakers, "rows": [(batch, f"{repeat_probability(speakers, batch):.3f}", batch == own) for batch in batches]}


def repeat_probability(speakers: int, batch: int) -> float:
    """Probability that `batch` utterances, each of one of `speakers` equally likely speakers, repeat a speaker (paper Eq. 1).

    The factorials of Eq. 1 overflow, so the probability of no repeat is summed as logarithms.
    """
    if batch > speakers:
        return 1.0
    return float(-np.expm1(np.log1p(-np.arange(batch) / speakers).sum()))
