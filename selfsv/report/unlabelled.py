"""Quality without labels in the report: a table of measures, a column per iteration, and how to read each."""

from typing import Any, NamedTuple

import pandas as pd

from selfsv.report.collect import Results


class Measure(NamedTuple):
    """A row of the table."""

    name: str
    column: str  # of diagnosis.parquet
    digits: int
    reading: str  # how to read it
    beside: tuple[tuple[str, str], ...] = ()  # below it, in small letters: words and column
    scale: float = 1


MEASURES = (
    Measure(
        "EER on parts of recordings, %",
        "part_eer",
        2,
        "Lower is better. A target is the first and the last third of one recording: the shared channel makes the rate optimistic.",
        (("s-norm", "part_eer_snorm"),),
        100,
    ),
    Measure(
        "EER on sessions, %",
        "session_eer",
        2,
        "Lower is better, where a session has one speaker. A target is two recordings of one session, which share the channel, too.",
        (("s-norm", "session_eer_snorm"),),
        100,
    ),
    Measure(
        "AMI of clusters and sessions",
        "session_ami",
        3,
        "1: clusters are sessions; 0: what chance gives. With one session to a speaker, it does not separate voice and channel.",
        (("NMI", "session_nmi"), ("by chance", "session_nmi_chance")),
    ),
    Measure(
        "Stability between rounds, ARI",
        "previous_ari",
        3,
        "The clusters against those that this round was trained on. Near 1 another round changes little, whether they are right or wrong.",
        (("NMI", "previous_nmi"),),
    ),
    Measure(
        "Stability under resampling, ARI",
        "resampling_ari",
        3,
        "Higher is better: two random halves of the utterances give the same clusters. Near 0 the clusters are an accident of the sample.",
    ),
    Measure(
        "Silhouette",
        "silhouette",
        3,
        "From −1 to 1. Higher: clusters are denser and farther apart. It also rises where embeddings collapse to a few directions.",
    ),
    Measure(
        "Effective dimensions",
        "effective_dimensions",
        1,
        "How many directions the embeddings vary in. Near 1 they have collapsed; more is not better by itself.",
    ),
    Measure(
        "Labels that the gate trusts, %",
        "gate_reliable",
        1,
        "Of the labels that this round was trained on. Near 0 or 100 the gate does not separate good labels and bad ones.",
        (("corrected", "gate_corrected"),),
        100,
    ),
)


def unlabelled(results: Results) -> dict[str, Any] | None:
    """The table, and how many trials and utterances it is about; None where nothing was diagnosed."""
    found = {system: row for system in [*results.trained, *results.large_margin] if (row := results.diagnosis(system)) is not None}
    if not found:
        return None
    *_, last = found.values()
    return {
        "titles": [results.title(system) for system in found],
        "rows": [(measure.name, [cell(measure, row) for row in found.values()], measure.reading) for measure in MEASURES],
        "doubts": [(results.title(system), text) for system, row in found.items() if (text := doubts(results, system, row))],
        "last": {str(name): value for name, value in last.items()},
    }


def doubts(results: Results, system: str, row: pd.Series) -> str:
    """Signs that a system learnt nothing: those of its diagnosis, and a collapse in the last epoch of its training; often empty."""
    history = results.history(system)
    last = "" if history is None or "warning" not in history or history.empty else str(history["warning"].iloc[-1] or "")
    ended = [f"its training ended in a {last.replace('COLLAPSE', 'collapse')}"] if last.startswith("COLLAPSE") else []
    return "; ".join([*ended, *filter(None, [str(row.get("doubts") or "")])])


def cell(measure: Measure, row: pd.Series) -> tuple[str, list[str]]:
    """A measure's value and the lines below it; a dash where it was not measured."""
    if pd.isna(row[measure.column]):
        return "–", []
    number = f".{measure.digits}f"
    beside = [f"{words} {format(measure.scale * row[column], number)}" for words, column in measure.beside]
    return format(measure.scale * row[measure.column], number), beside
