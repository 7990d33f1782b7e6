"""The report: what an experiment has left behind, as one self-contained page."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.clustering.quality import cluster_sizes
from pipeline.reporting import figures
from pipeline.reporting.collect import Results
from pipeline.reporting.paper import VOXCELEB
from pipeline.reporting.repeats import repeat_probability
from pipeline.scoring.systems import iteration, title

TEMPLATE = Path(__file__).parents[2] / "workflow" / "report" / "report.html.j2"
SAMPLE_RATE = 16_000
SHOWN_ROWS = 20  # of a table that could be as long as the corpus
NORMS = (("cosine", "cosine"), ("snorm", "s-norm"))
TABLE_I_BATCHES = (16, 32, 64, 128, 256)
PACKAGES = (
    *("torch", "torchaudio", "faiss-cpu", "faiss-gpu", "numpy", "scipy", "pandas", "pyarrow", "scikit-learn"),
    *("soundfile", "av", "pyroomacoustics", "pydantic", "snakemake", "matplotlib", "jinja2", "tensorboard"),
)


class Panel(NamedTuple):
    """A figure with its heading and a sentence on how to read it."""

    heading: str
    figure: Markup
    caption: str = ""


def render(results: Results) -> str:
    """The page of an experiment; parts of it that do not exist yet are left out, and said to be missing."""
    loader = FileSystemLoader(TEMPLATE.parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["count"] = lambda value: f"{int(value):,}"
    return environment.get_template(TEMPLATE.name).render(content(results))


def content(results: Results) -> dict[str, Any]:
    """Everything the template shows."""
    settings = results.settings
    metrics = results.metrics()
    corpora = [corpus_summary(results, name) for name in sorted(settings.corpora, key=lambda name: name != settings.train_corpus)]
    return {
        "settings": settings,
        "warnings": warnings(results),
        "corpora": [corpus for corpus in corpora if corpus],
        "repeats": repeats(results),
        "tiles": tiles(metrics),
        "headline": headline(metrics),
        "paper": paper_table(),
        "eer": eer_panels(metrics),
        "det": det_panels(results, metrics),
        "gates": [gate for system in results.trained[1:] if (gate := gate_panels(results, system))],
        "clusters": cluster_panels(results),
        "quality": quality_rows(results),
        "agreement": agreement_panel(results),
        "training": [training for system in results.trained if (training := training_panels(results, system))],
        "provenance": [(title(name), found) for name in results.systems if (found := results.provenance(name))],
        "config": yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        "versions": versions(),
        "shown_rows": SHOWN_ROWS,
    }


# Warnings -------------------------------------------------------------------------------------------------------------


def warnings(results: Results) -> list[tuple[str, str, str]]:
    """System, epochs and text of each warning in the histories; figures aside, the same text counts as one warning."""
    found = []
    for system in results.trained:
        history = results.history(system)
        if history is None or "warning" not in history:
            continue
        rows = history[history["warning"].fillna("").astype(str) != ""]
        kinds = rows["warning"].str.replace(r"[\d.]+", "#", regex=True)
        for _, group in rows.groupby(kinds, sort=False):
            found.append((title(system), _ranges(group["epoch"] + 1), str(group["warning"].iloc[-1])))
    return found


def _ranges(epochs: pd.Series) -> str:
    runs = np.split(epochs.to_numpy(), np.flatnonzero(np.diff(epochs) != 1) + 1)
    texts = [f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]
    cut = texts if len(texts) <= 6 else [*texts[:5], f"and {len(epochs) - sum(map(len, runs[:5]))} more"]
    return ("epoch " if len(epochs) == 1 else "epochs ") + ", ".join(cut)


# Results --------------------------------------------------------------------------------------------------------------


def tiles(metrics: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Per trial list the EER of CA-DINO and of the last round: the last, not the best, which only labels could tell."""
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
                "last": (title(last["system"]), f"{100 * last['eer']:.2f}"),
                "change": change,
            }
        )
    return made


def headline(metrics: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Per trial list: its size, and a row per system of EER (%) and minDCF, each with cosine and s-norm; the lowest is marked."""
    if metrics is None:
        return []
    tables = []
    for trials, rows in metrics.groupby("trials", sort=False):
        wide = rows.pivot(index="system", columns="norm", values=["eer", "min_dcf"])
        wide = wide[[(measure, norm) for measure in ("eer", "min_dcf") for norm, _ in NORMS]].loc[rows["system"].unique()]
        lowest = wide.min()
        lines = []
        for system, values in wide.iterrows():
            measures = zip(wide.columns, values, lowest, strict=True)
            shown = [(f"{100 * value:.2f}" if key[0] == "eer" else f"{value:.3f}", value == least) for key, value, least in measures]
            lines.append({"system": title(str(system)), "baseline": iteration(str(system)) is None, "cells": shown})
        size = rows[["targets", "nontargets"]].iloc[0]
        tables.append({"trials": trials, "targets": size["targets"], "nontargets": size["nontargets"], "rows": lines})
    return tables


def paper_table() -> dict[str, Any]:
    """Table VIII's rows: CA-DINO and four rounds, EER (%) and minDCF of each list."""
    lists = list(VOXCELEB.values())
    rows = [
        (title(f"iter_{index}"), [(f"{item.eer_percent[index]:.3f}", f"{item.min_dcf[index]:.4f}") for item in lists])
        for index in range(len(lists[0].eer_percent))
    ]
    return {"lists": [item.name for item in lists], "rows": rows}


def eer_panels(metrics: pd.DataFrame | None) -> list[Panel]:
    """EER per round, a panel per trial list."""
    if metrics is None:
        return []
    return [Panel(str(trials), figures.eer_per_round(str(trials), rows)) for trials, rows in metrics.groupby("trials", sort=False)]


def det_panels(results: Results, metrics: pd.DataFrame | None) -> list[Panel]:
    """DET curves of all systems, a panel per trial list and norm."""
    panels = []
    for trials in [] if metrics is None else metrics["trials"].unique():
        for norm, name in NORMS:
            found = {system: results.error_curve(system, trials, norm) for system in results.systems}
            curves = {system: curve for system, curve in found.items() if curve}
            if curves:
                panels.append(Panel(f"{trials}, {name}", figures.det(f"det-{trials}-{norm}", f"DET curves on {trials}, {name}", curves)))
    return panels


# Training -------------------------------------------------------------------------------------------------------------


def gate_panels(results: Results, system: str) -> dict[str, Any] | None:
    """The last epoch's clean losses with the mixture, and the gate over the epochs, of one round."""
    gate, losses = results.gate(system), results.clean_losses(system)
    if gate is None or gate.empty:
        return None
    last, dynamic = gate.iloc[-1], results.settings.train.gate.mode.startswith("dlg")
    panels = []
    if losses is not None and len(losses):
        caption = f"{len(losses):,} utterances, epoch {last['epoch'] + 1}; the curves are the two Gaussians fitted to these losses, "
        caption += "each times its weight."
        if dynamic:
            caption += " τ₁ was in force in this epoch: it is the crossing one epoch earlier, so it need not lie on this one."
        panels.append(Panel("Clean loss (the paper's Fig. 3)", figures.loss_histogram(f"{system}-losses", losses, last), caption))
    if gate["tau1"].notna().any():
        caption = "The threshold in force in each epoch" + ("; it comes from the losses of the epoch before." if dynamic else ".")
        panels.append(Panel("Threshold τ₁", figures.threshold_per_epoch(f"{system}-tau1", gate), caption))
    caption = "Trained on the pseudo label, on a corrected label, or not at all."
    panels.append(Panel("What became of the utterances", figures.fractions_per_epoch(f"{system}-fractions", gate), caption))
    kept = gate[gate["status"].astype(str).str.startswith("kept")]
    note = ""
    if len(kept):
        reason = kept["status"].iloc[-1].removeprefix("kept: ")
        note = f"{_ranges(kept['epoch'] + 1)}: the mixture gave no threshold ({reason}), so the one before stayed."
    return {"title": title(system), "panels": panels, "note": note[:1].upper() + note[1:]}


def training_panels(results: Results, system: str) -> dict[str, Any] | None:
    """Loss, entropy or accuracy, learning rate and throughput over the epochs of one training."""
    history = results.history(system)
    if history is None:
        return None
    panels = _pretraining(results, system, history) if system == "iter_0" else _gated_training(results, system, history)
    panels.append(Panel("Learning rate", figures.curves(f"{system}-lr", history, [("learning_rate", "")], "learning rate")))
    if "utterances_per_second" in history:
        waited = history["data_wait_seconds"].sum() / max(history["seconds"].sum(), 1e-9) if "data_wait_seconds" in history else None
        caption = "" if waited is None else f"{100 * waited:.1f} % of the time was spent waiting for data."
        rate = figures.curves(f"{system}-rate", history, [("utterances_per_second", "")], "utterances per second")
        panels.append(Panel("Throughput", rate, caption))
    seconds = history["seconds"].sum() if "seconds" in history else None
    return {"title": title(system), "epochs": len(history), "duration": None if seconds is None else _duration(seconds), "panels": panels}


def _pretraining(results: Results, system: str, history: pd.DataFrame) -> list[Panel]:
    most = float(np.log(results.settings.pretrain.head.prototypes)), f"ln K = {np.log(results.settings.pretrain.head.prototypes):.2f}"
    alone = "loss_dino" in history and np.allclose(history["loss"], history["loss_dino"])
    losses = [("loss", "total"), *([] if alone else [("loss_dino", "self-distillation"), ("loss_cosine", "cosine")])]
    entropies = [("teacher_entropy", "teacher"), ("student_entropy", "student")]
    pinned = "A loss pinned at ln K is a collapse."
    return [
        Panel("Loss", figures.curves(f"{system}-loss", history, losses, "loss, nats", level=most), pinned),
        Panel(
            "Entropy of the outputs",
            figures.curves(f"{system}-entropy", history, entropies, "entropy, nats", level=most),
            "At 0 or at ln K the teacher says nothing: a collapse.",
        ),
    ]


def _gated_training(results: Results, system: str, history: pd.DataFrame) -> list[Panel]:
    full = results.settings.train.aam.margin_full_epoch
    moment = (full + 1.0, "margin full") if 0 < full < len(history) else None
    lines = [("loss", "training"), ("loss_clean", "clean segment, all utterances")]
    return [
        Panel("Loss", figures.curves(f"{system}-loss", history, lines, "loss, nats", moment=moment)),
        Panel(
            "Agreement with the pseudo labels",
            figures.curves(f"{system}-accuracy", history, [("accuracy", "")], "utterances, %", scale=100),
            "How often the clean segment's prediction is the pseudo label; noisy labels should not be learnt to 100 %.",
        ),
    ]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


# Clusters -------------------------------------------------------------------------------------------------------------


def cluster_panels(results: Results) -> list[Panel]:
    """The distribution of cluster sizes, a panel per system."""
    panels = []
    for system in results.systems:
        labels = results.labels(system)
        if labels is not None:
            panels.append(Panel(title(system), figures.cluster_sizes(f"{system}-sizes", cluster_sizes(labels))))
    return panels


def quality_rows(results: Results) -> list[dict[str, Any]]:
    """A table row per system on its clusters."""
    rows: list[dict[str, Any]] = []
    for system in results.systems:
        quality = results.quality(system)
        if quality is not None:
            agreement = [None if pd.isna(quality[name]) else f"{quality[name]:.3f}" for name in ("nmi", "purity")]
            rows.append(
                {
                    **{str(name): value for name, value in quality.items()},
                    "title": title(system),
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
    return Panel("Agreement with the speakers", figures.agreement(pd.DataFrame(known)), caption)


# Data, config, versions -----------------------------------------------------------------------------------------------


def corpus_summary(results: Results, name: str) -> dict[str, Any] | None:
    """Sizes of one corpus, and what was rejected from it and why."""
    manifest = results.manifest(name)
    if manifest is None:
        return None
    usable = manifest["status"] == "ok"
    good, bad = manifest[usable], manifest[~usable]
    seconds = good["num_samples"].to_numpy(float) / SAMPLE_RATE
    return {
        "name": name,
        "training": name == results.settings.train_corpus,
        "utterances": len(good),
        "sessions": good["session"].nunique(),
        "speakers": results.speakers(name),
        "hours": seconds.sum() / 3600,
        "seconds": np.quantile(seconds, [0, 0.5, 1]).tolist() if len(good) else [0.0] * 3,
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


def versions() -> list[tuple[str, str]]:
    """Python and the packages that compute something, as installed where the report was made."""
    found = [("Python", platform.python_version()), ("platform", f"{platform.system()} {platform.machine()}")]
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return found
