"""The pseudo labels in the report: sizes of the clusters, their agreement with speakers, and which embeddings they come from."""

from typing import Any

import pandas as pd

from selfsv.clustering.quality import cluster_sizes
from selfsv.report import figures
from selfsv.report.collect import Results
from selfsv.report.drawing import Panel

MODALITIES = {"audio": "voices", "face": "faces", "joint": "both"}


def cluster_panels(results: Results) -> list[Panel]:
    """The distribution of cluster sizes, a panel per system."""
    panels = []
    for system in results.systems:
        labels = results.labels(system)
        if labels is not None:
            panels.append(Panel(results.title(system), figures.cluster_sizes(f"{system}-sizes", cluster_sizes(labels))))
    return panels


def quality_rows(results: Results) -> list[dict[str, Any]]:
    """A table row per system on its clusters."""
    rows: list[dict[str, Any]] = []
    for system in results.systems:
        quality = results.quality(system)
        if quality is not None:
            agreement = [_three_digits(quality[name]) for name in ("nmi", "purity")]
            rows.append(
                {
                    **{str(name): value for name, value in quality.items()},
                    "title": results.title(system),
                    "nmi": agreement[0],
                    "purity": agreement[1],
                }
            )
    return rows


def agreement_panel(results: Results) -> Panel | None:
    """NMI and purity per system, where speakers are known."""
    known = [row for system in results.systems if (row := results.quality(system)) is not None and not pd.isna(row["nmi"])]
    if not known:
        return None
    caption = f"Over {known[0]['utterances_with_speaker']:,} utterances of known speaker. Purity grows with the number of clusters."
    return Panel("Agreement with the speakers", figures.agreement(pd.DataFrame(known), results.title), caption)


def modality_comparison(results: Results) -> dict[str, Any] | None:
    """How well clusters of voices alone, of faces alone and of both agree with the speakers, per round; None where it was not computed."""
    found = {system: table for system in results.trained if (table := results.modality_quality(system)) is not None}
    if not results.audio_visual or not found:
        return None
    known = pd.concat([table.assign(system=system) for system, table in found.items()]).dropna(subset=["nmi", "purity"])
    panels = [] if known.empty else [_modality_panel(measure, name, known) for measure, name in figures.MEASURES.items()]
    return {
        "rounds": [(results.title(system), modality_rows(table)) for system, table in found.items()],
        "utterances": 0 if known.empty else known["utterances_with_speaker"].iloc[-1],
        "panels": panels,
    }


def _modality_panel(measure: str, name: str, known: pd.DataFrame) -> Panel:
    return Panel(name[0].upper() + name[1:], figures.modality_agreement(f"modality-{measure}", measure, known))


def modality_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A round's rows of the table, voices first."""
    rows = {row["modality"]: row for row in table.to_dict("records")}
    return [
        {
            "name": name,
            "joint": modality == "joint",
            "clusters": rows[modality]["clusters"],
            "nmi": _three_digits(rows[modality]["nmi"]),
            "purity": _three_digits(rows[modality]["purity"]),
        }
        for modality, name in MODALITIES.items()
        if modality in rows
    ]


def _three_digits(value: float) -> str | None:
    return None if pd.isna(value) else f"{value:.3f}"
