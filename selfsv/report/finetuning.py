"""Fine-tuning on few labels in the report: error rates of encoders tuned on parts of a corpus, beside the paper's Table VI."""

from typing import Any

import pandas as pd

from selfsv.report import figures
from selfsv.report.collect import Results
from selfsv.report.drawing import Panel
from selfsv.report.paper import FEW_LABELS
from selfsv.scoring.systems import Labelled, Title, labelled

NORMS = {"cosine": "cosine", "snorm": "s-norm"}


def finetuning(results: Results, metrics: pd.DataFrame | None) -> dict[str, Any] | None:
    """A table and a panel per trial list, and the paper's rows; None where nothing was tuned on labels."""
    rates = None if metrics is None else rates_by_part(metrics)
    if rates is None or rates.empty:
        return None
    percent = sorted({0, *rates["percent"]})
    lists = [(str(trials), rows) for trials, rows in rates.groupby("trials", sort=False)]
    return {
        "corpus": results.settings.finetune.corpus,
        "percent": percent,
        "lists": [{"trials": trials, "rows": table_rows(rows, percent, results.start_title)} for trials, rows in lists],
        "panels": [
            Panel(trials, figures.eer_per_part(trials, rows[rows["norm"] == "cosine"], results.start_title)) for trials, rows in lists
        ],
        "paper": FEW_LABELS,
    }


def rates_by_part(metrics: pd.DataFrame) -> pd.DataFrame:
    """The rows of `metrics` about tuned systems and the encoders that they start from, with `start` and `percent` (0: not tuned)."""
    tuned = {system: part for system in metrics["system"].unique() if (part := labelled(system))}
    parts = {**tuned, **{part.start: Labelled(part.start, 0) for part in tuned.values()}}
    # Random weights without any tuning are the baseline.
    names = metrics["system"].replace("baseline_untrained", "random")
    rates = metrics[names.isin(parts)]
    found = [parts[name] for name in names[names.isin(parts)]]
    return rates.assign(start=[part.start for part in found], percent=[part.percent for part in found])


def table_rows(rates: pd.DataFrame, percent: list[int], start_title: Title) -> list[dict[str, Any]]:
    """A table row per encoder and norm: EER (%) by part of the labels."""
    made = []
    for start, of_start in rates.groupby("start", sort=False):
        for norm, name in NORMS.items():
            eer = of_start[of_start["norm"] == norm].set_index("percent")["eer"]
            cells = [f"{100 * eer[part]:.2f}" if part in eer.index else "–" for part in percent]
            made.append({"start": start_title(str(start)), "norm": name, "cells": cells})
    return made
