"""The error rates in the report: all systems with intervals, the best of each column, and which differences are shown."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from selfsv.report.collect import Results
from selfsv.report.corpora import SHOWN_ROWS
from selfsv.scoring.measures import MEASURES
from selfsv.scoring.systems import BASELINES, Title, labelled
from selfsv.scoring.table import NORM_TITLES, caveat, resampling
from selfsv.settings.data import TrialList


def tiles(metrics: pd.DataFrame | None, comparisons: pd.DataFrame | None, title: Title) -> list[dict[str, Any]]:
    """Per trial list the EER of stage I and of the last round. The last, not the best: to choose the best takes labels."""
    if metrics is None:
        return []
    made = []
    for trials, rows in metrics[(metrics["norm"] == "cosine") & metrics["iteration"].notna()].groupby("trials", sort=False):
        rows = rows.sort_values("iteration")
        first, last = rows.iloc[0], rows.iloc[-1]
        change = 100 * (last["eer"] / first["eer"] - 1) if first["eer"] > 0 and len(rows) > 1 else None
        made.append(
            {
                "trials": trials,
                "counts": f"{last['targets']:,} target and {last['nontargets']:,} non-target trials",
                "first": (title(first["system"]), f"{100 * first['eer']:.2f}"),
                "last": (title(last["system"]), *figure(last, "eer")),
                "change": change,
                "shown": is_shown(comparisons, str(trials), "cosine", "eer", first["system"], last["system"]),
            }
        )
    return made


def figure(row: pd.Series, measure: str) -> tuple[str, str]:
    """A figure and its interval, EER in %: `11.29` and `8.20 to 14.88`, or nothing where it has none."""
    scale, digits = (100, 2) if measure == "eer" else (1, 3)
    value, low, high = (f"{scale * row[name]:.{digits}f}" for name in (measure, f"{measure}_low", f"{measure}_high"))
    return value, f"{low} to {high}" if pd.notna(row[f"{measure}_low"]) else ""


def is_shown(comparisons: pd.DataFrame | None, trials: str, norm: str, measure: str, one: str, other: str) -> bool:
    """Whether the difference of two systems is shown: its interval leaves 0 out. False for a pair that was not compared."""
    if comparisons is None:
        return False
    rows = comparisons[(comparisons["trials"] == trials) & (comparisons["norm"] == norm) & (comparisons["measure"] == measure)]
    pair = rows["system_a"].isin([one, other]) & rows["system_b"].isin([one, other])
    return bool(rows.loc[pair, "shown"].any())


def headline(
    metrics: pd.DataFrame | None, comparisons: pd.DataFrame | None, title: Title, lists: Mapping[str, TrialList] | None = None
) -> list[dict[str, Any]]:
    """Per trial list: its size, what its intervals resample, and a row per system with each measure, and minCllr, by cosine and s-norm.

    A figure is marked as the best of its column only where its difference from the next best is shown, and no baseline has it.
    """
    if metrics is None:
        return []
    tables = []
    for trials, rows in metrics.groupby("trials", sort=False):
        of = rows.set_index(["system", "norm"])
        systems = list(dict.fromkeys(rows["system"]))
        columns = [(measure, norm) for measure in MEASURES for norm in NORM_TITLES]
        best = {column: best_system(rows, comparisons, *column) for column in columns}
        lines = []
        for system in systems:
            cells = [(*figure(of.loc[(system, norm)], measure), best[measure, norm] == system) for measure, norm in columns]
            cells += [(f"{of.loc[(system, norm)]['min_cllr']:.3f}", "", False) for norm in NORM_TITLES]
            lines.append({"system": title(system), "baseline": system in BASELINES, "cells": cells})
        first = rows.iloc[0]
        table = {"trials": trials, "targets": first["targets"], "nontargets": first["nontargets"], "rows": lines}
        tuned_on = bool(lists and str(trials) in lists and lists[str(trials)].tuned_on)
        said = {"resampling": resampling(first["resampled"], first["units"]), "caveat": caveat(first["resampled"], first["units"])}
        tables.append({**table, **said, "tuned_on": tuned_on})
    return tables


def calibrations(results: Results, metrics: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Per trial list: Cllr and actual DCF of each system beside their minima, and doubts about its log-likelihood ratios."""
    if metrics is None:
        return []
    tables = []
    for trials, rows in metrics[metrics["cllr"].notna()].groupby("trials", sort=False):
        lines = []
        for _, row in rows.iterrows():
            pairs = (("cllr", "min_cllr"), ("act_dcf", "min_dcf"), ("act_dcf_p05", "min_dcf_p05"))
            cells = [f"{row[column]:.3f}" for pair in pairs for column in pair]
            lines.append({"system": results.title(row["system"]), "baseline": row["system"] in BASELINES, "cells": cells})
        tables.append({"trials": trials, "rows": lines, "doubts": calibration_doubts(results, rows["system"])})
    return tables


def calibration_doubts(results: Results, systems: Iterable[str]) -> list[str]:
    """Reasons to doubt the ratios: each once, with the systems that have it."""
    found: dict[str, list[str]] = {}
    for system in systems:
        for doubt in filter(None, results.calibration_doubts(system).split("; ")):
            found.setdefault(doubt, []).append(results.title(system))
    return [f"{', '.join(names)}: {doubt}" for doubt, names in found.items()]


def best_system(rows: pd.DataFrame, comparisons: pd.DataFrame | None, measure: str, norm: str) -> str | None:
    """The system with the lowest figure, if it is no baseline and its difference from the next lowest is shown."""
    ranked = rows[rows["norm"] == norm].sort_values(measure, kind="stable")["system"].tolist()
    if len(ranked) < 2 or ranked[0] in BASELINES:
        return None
    trials = str(rows["trials"].iloc[0])
    return ranked[0] if is_shown(comparisons, trials, norm, measure, *ranked[:2]) else None


def differences(results: Results, comparisons: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Per trial list: the difference of each system's EER from that of its start or a baseline, and whether it is shown."""
    if comparisons is None:
        return []
    eer = comparisons[(comparisons["measure"] == "eer") & comparisons["trials"].isin(list(results.settings.trials))]
    tables = []
    for trials, rows in eer.groupby("trials", sort=False):
        found = {(row["system_a"], row["system_b"], row["norm"]): row for _, row in rows.iterrows()}
        lines = []
        for system, reference in asked(results):
            if (system, reference, "cosine") in found:
                cells = [difference(found[system, reference, norm]) for norm in NORM_TITLES]
                lines.append({"system": results.title(system), "reference": results.title(reference), "cells": cells})
        if lines:
            tables.append({"trials": trials, "rows": lines})
    return tables


def conditions(results: Results) -> list[dict[str, Any]]:
    """Per trial list: EER and minDCF (p = 0.05) of the last round under each condition, by cosine and s-norm."""
    table, last = results.conditions(), results.trained[-1]
    if table is None:
        return []
    found = table[(table["system"] == last) & table["trials"].isin(list(results.settings.trials))]
    tables = []
    for trials, of_list in found.groupby("trials", sort=False):
        lines = []
        for condition, of_condition in of_list.groupby("condition", sort=False):
            for place, (value, rows) in enumerate(of_condition.groupby("value", sort=False)):
                if place < SHOWN_ROWS:
                    by_norm = {row["norm"]: row for _, row in rows.iterrows()}
                    cells = [figure(by_norm[norm], measure) for measure in ("eer", "min_dcf_p05") for norm in NORM_TITLES]
                    counts = {name: rows[name].iloc[0] for name in ("targets", "nontargets", "units")}
                    lines.append({"condition": "" if place else condition, "value": value, **counts, "cells": cells})
        tables.append({"trials": trials, "system": results.title(last), "resampled": of_list["resampled"].iloc[0], "rows": lines})
    return tables


def difference(row: pd.Series) -> tuple[str, str, str]:
    """A difference of EERs in percentage points, its interval, and what it shows."""
    points, low, high = (f"{100 * row[name]:+.2f}".replace("-", "−") for name in ("difference", "low", "high"))
    if pd.isna(row["low"]):
        return points, "", "not shown"
    return points, f"{low} to {high}", ("better" if row["difference"] < 0 else "worse") if row["shown"] else "not shown"


def asked(results: Results) -> list[tuple[str, str]]:
    """Pairs of systems to compare: each with the one that it was made of, and the last round with stage I and the baselines."""
    rounds = results.trained
    pairs = [*zip(rounds[1:], rounds, strict=False)]
    pairs += [(rounds[-1], rounds[0])] if len(rounds) > 2 else []
    pairs += [(system, rounds[-1]) for system in results.large_margin]
    pairs += [(rounds[-1], baseline) for baseline in BASELINES]
    parts = ((system, labelled(system)) for system in results.finetuned)
    starts = [(system, part.start) for system, part in parts if part]
    return pairs + [(system, "baseline_untrained" if start == "random" else start) for system, start in starts]
