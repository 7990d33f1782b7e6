"""The report: the artifacts of an experiment as one self-contained page."""

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from selfsv.report import figures
from selfsv.report.clusters import agreement_panel, cluster_panels, modality_comparison, quality_rows
from selfsv.report.collect import Results
from selfsv.report.corpora import SHOWN_ROWS, corpus_summary, repeats
from selfsv.report.drawing import Panel
from selfsv.report.error_rates import calibrations, conditions, differences, headline, tiles
from selfsv.report.faces import cluster_faces, detection
from selfsv.report.finetuning import finetuning
from selfsv.report.paper import TABLES
from selfsv.report.trainings import gates, training_panels, warnings
from selfsv.report.unlabelled import unlabelled
from selfsv.scoring.systems import title
from selfsv.scoring.table import NORM_TITLES

TEMPLATE = Path(__file__).parents[2] / "workflow" / "report" / "report.html.j2"
PACKAGES = (
    *("torch", "torchaudio", "faiss-cpu", "faiss-gpu", "numpy", "scipy", "pandas", "pyarrow", "scikit-learn"),
    *("soundfile", "av", "pyroomacoustics", "pydantic", "snakemake", "matplotlib", "jinja2", "tensorboard"),
)
FACE_PACKAGES = ("torchvision", "facenet-pytorch", "pillow")


def render(results: Results) -> str:
    """The page of an experiment. Missing artifacts are left out, and the page says so."""
    loader = FileSystemLoader(TEMPLATE.parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["count"] = lambda value: f"{int(value):,}"
    return environment.get_template(TEMPLATE.name).render(content(results))


def content(results: Results) -> dict[str, Any]:
    """Everything the template shows."""
    settings = results.settings
    metrics, comparisons = results.metrics(), results.comparisons()
    corpora = [corpus_summary(results, name) for name in sorted(settings.corpora, key=lambda name: name != settings.train_corpus)]
    trainings = [*results.trained, *results.large_margin, *results.finetuned]
    models = [*results.systems, *results.finetuned]
    return {
        "settings": settings,
        "stage_one": results.stage_one,
        "warnings": warnings(results),
        "corpora": [corpus for corpus in corpora if corpus],
        "repeats": repeats(results),
        "tiles": tiles(metrics, comparisons, results.title),
        "calibrations": calibrations(results, metrics),
        "headline": headline(metrics, comparisons, results.title, settings.trials),
        "differences": differences(results, comparisons),
        "conditions": conditions(results),
        "paper": paper_table(settings.modality),
        "eer": eer_panels(results, metrics),
        "finetuning": finetuning(results, metrics),
        "det": det_panels(results, metrics),
        "gates": [found for system in results.trained[1:] if (found := gates(results, system))],
        "clusters": cluster_panels(results),
        "quality": quality_rows(results),
        "agreement": agreement_panel(results),
        "modalities": modality_comparison(results),
        "unlabelled": unlabelled(results),
        "faces": {"detection": detection(results), "clusters": cluster_faces(results)} if results.audio_visual else None,
        "training": [training for system in trainings if (training := training_panels(results, system))],
        "provenance": [(results.title(name), found) for name in models if (found := results.provenance(name))],
        "config": yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        "versions": versions((*PACKAGES, *FACE_PACKAGES) if results.audio_visual else PACKAGES),
        "shown_rows": SHOWN_ROWS,
    }


# Results --------------------------------------------------------------------------------------------------------------


def paper_table(modality: str) -> dict[str, Any]:
    """The paper's rows on runs of this modality: CA-DINO and the rounds, EER (%) and minDCF of each list."""
    table = TABLES[modality]
    lists = list(table.lists.values())
    rows = [
        (title(f"iter_{index}", "CA-DINO"), [(f"{item.eer_percent[index]:.3f}", f"{item.min_dcf[index]:.4f}") for item in lists])
        for index in range(len(lists[0].eer_percent))
    ]
    return {"source": table.source, "lists": [item.name for item in lists], "rows": rows}


def eer_panels(results: Results, metrics: pd.DataFrame | None) -> list[Panel]:
    """EER per round, a panel per trial list."""
    if metrics is None:
        return []
    lists, modality, stage_one = metrics.groupby("trials", sort=False), results.settings.modality, results.stage_one
    return [Panel(str(trials), figures.eer_per_round(str(trials), rows, modality, stage_one)) for trials, rows in lists]


def det_panels(results: Results, metrics: pd.DataFrame | None) -> list[Panel]:
    """DET curves of all systems, a panel per trial list and norm."""
    panels = []
    for trials in [] if metrics is None else metrics["trials"].unique():
        for norm, name in NORM_TITLES.items():
            found = {system: results.error_curve(system, trials, norm) for system in results.systems}
            curves = {system: curve for system, curve in found.items() if curve}
            if curves:
                bands = {system: band for system in curves if (band := results.det_band(system, trials, norm)) is not None}
                figure = figures.det(f"det-{trials}-{norm}", f"DET curves on {trials}, {name}", curves, results.title, bands)
                panels.append(Panel(f"{trials}, {name}", figure))
                panels += histogram_panels(results, str(trials), norm, name)
    return panels


def histogram_panels(results: Results, trials: str, norm: str, name: str) -> list[Panel]:
    """The scores of the last round's targets and non-targets."""
    last = results.trained[-1]
    found = results.scores(last, trials, norm)
    if found is None:
        return []
    system = results.title(last)
    drawn = figures.score_histogram(f"scores-{trials}-{norm}", f"Scores on {trials}, {name}, of {system}", *found)
    return [Panel(f"{trials}, {name}: scores of {system}", drawn, "The line is the threshold of equal error rates.")]


# Versions -------------------------------------------------------------------------------------------------------------


def versions(packages: Iterable[str]) -> list[tuple[str, str]]:
    """Python and those of the packages that are installed where the report was made."""
    found = [("Python", platform.python_version()), ("platform", f"{platform.system()} {platform.machine()}")]
    for package in packages:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return found
