"""The trainings in the report: their warnings, the loss-gates, and the course of losses, entropies and rates."""

from typing import Any

import numpy as np
import pandas as pd

from selfsv.report import figures
from selfsv.report.collect import Results
from selfsv.report.drawing import Panel
from selfsv.scoring.systems import iteration


def warnings(results: Results) -> list[tuple[str, str, str]]:
    """System, epochs and text of each warning in the histories; figures aside, the same text counts as one warning."""
    found = []
    for system in [*results.trained, *results.large_margin, *results.finetuned]:
        history = results.history(system)
        if history is None or "warning" not in history:
            continue
        rows = history[history["warning"].fillna("").astype(str) != ""]
        kinds = rows["warning"].str.replace(r"[\d.]+", "#", regex=True)
        for _, group in rows.groupby(kinds, sort=False):
            found.append((results.title(system), _ranges(group["epoch"] + 1), str(group["warning"].iloc[-1])))
    return found


def _ranges(epochs: pd.Series) -> str:
    runs = np.split(epochs.to_numpy(), np.flatnonzero(np.diff(epochs) != 1) + 1)
    texts = [f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]
    cut = texts if len(texts) <= 6 else [*texts[:5], f"and {len(epochs) - sum(map(len, runs[:5]))} more"]
    return ("epoch " if len(epochs) == 1 else "epochs ") + ", ".join(cut)


def gates(results: Results, system: str) -> dict[str, Any] | None:
    """The gates of one round: that on voices, and in audio-visual runs that on faces."""
    shown = {"audio": "Voice", "face": "Face"} if results.audio_visual else {"audio": ""}
    parts = [part for modality, heading in shown.items() if (part := gate_panels(results, system, modality, heading))]
    return {"title": results.title(system), "parts": parts} if parts else None


def gate_panels(results: Results, system: str, modality: str, heading: str) -> dict[str, Any] | None:
    """The last epoch's clean losses with the mixture, and the gate over the epochs, of one network of a round."""
    gate, losses = results.gate(system, modality), results.clean_losses(system, modality)
    if gate is None:
        return None
    name = system if modality == "audio" else f"{system}-{modality}"
    last, dynamic = gate.iloc[-1], results.settings.train.gate.mode.startswith("dlg")
    panels = []
    if losses is not None and len(losses):
        caption = f"{len(losses):,} utterances, epoch {last['epoch'] + 1}; the curves are the two Gaussians fitted to these losses, "
        caption += "each times its weight."
        if dynamic:
            caption += " τ₁ was in force in this epoch: it is where the Gaussians of the epoch before crossed, not those drawn here."
        panels.append(Panel("Clean loss (the paper's Fig. 3)", figures.loss_histogram(f"{name}-losses", losses, last), caption))
    if gate["tau1"].notna().any():
        caption = "The threshold in force in each epoch" + ("; it comes from the losses of the epoch before." if dynamic else ".")
        panels.append(Panel("Threshold τ₁", figures.threshold_per_epoch(f"{name}-tau1", gate), caption))
    agreed = " on the class that both networks predict (agreed)," if "agreed" in gate else ""
    caption = f"Trained on the pseudo label,{agreed} on a corrected label, or not at all."
    panels.append(Panel("What became of the utterances", figures.fractions_per_epoch(f"{name}-fractions", gate), caption))
    kept = gate[gate["status"].astype(str).str.startswith("kept")]
    note = ""
    if len(kept):
        reason = kept["status"].iloc[-1].removeprefix("kept: ")
        note = f"{_ranges(kept['epoch'] + 1)}: the mixture gave no threshold ({reason}), so the one before stayed."
    return {"heading": heading, "panels": panels, "note": note[:1].upper() + note[1:]}


def training_panels(results: Results, system: str) -> dict[str, Any] | None:
    """Loss, entropy or accuracy, learning rate and throughput over the epochs of one training."""
    history = results.history(system)
    if history is None:
        return None
    if iteration(system) is None:
        panels = _tuning(system, history)
    else:
        panels = _gated_training(results, system, history) if iteration(system) else _pretraining(results, system, history)
    panels.append(Panel("Learning rate", figures.curves(f"{system}-lr", history, [("learning_rate", "")], "learning rate")))
    if "gradient_norm" in history:
        norm = figures.curves(f"{system}-gradient", history, [("gradient_norm", "")], "norm of the gradient")
        panels.append(Panel("Gradient", norm, _clipping(results, system, history["gradient_clipped"].mean())))
    if "utterances_per_second" in history:
        waited = history["data_wait_seconds"].sum() / max(history["seconds"].sum(), 1e-9) if "data_wait_seconds" in history else None
        caption = "" if waited is None else f"{100 * waited:.1f} % of the time was spent waiting for data."
        rate = figures.curves(f"{system}-rate", history, [("utterances_per_second", "")], "utterances per second")
        panels.append(Panel("Throughput", rate, caption))
    seconds = history["seconds"].sum() if "seconds" in history else None
    duration = None if seconds is None else _duration(seconds)
    return {"title": results.title(system), "epochs": len(history), "duration": duration, "panels": panels}


def _clipping(results: Results, system: str, share: float) -> str:
    """A sentence on how often gradients were clipped."""
    unit = "gradients of single tensors were" if system == results.trained[0] else "steps were"
    return f"Mean over the epoch's steps, before clipping. {100 * share:.0f} % of the {unit} clipped."


def _pretraining(results: Results, system: str, history: pd.DataFrame) -> list[Panel]:
    parts = [
        (name, name.removeprefix("loss_").replace("_", " "))
        for name in map(str, history)
        if name.startswith("loss_") and history[name].any()
    ]
    losses = [("loss", "total"), *(parts if len(parts) > 1 else [])]
    if "teacher_entropy" not in history:  # no prototypes, and nothing that could collapse on them
        return [Panel("Loss", figures.curves(f"{system}-loss", history, losses, "loss, nats"))]
    pretrain = results.settings.pretrain
    prototypes = pretrain.sdpn.prototypes if pretrain.method == "sdpn" else pretrain.head.prototypes
    most = float(np.log(prototypes)), f"ln K = {np.log(prototypes):.2f}"
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
    losses, caption = [("loss", "training"), ("loss_clean", "clean segment, all utterances")], ""
    accuracies, clean = [("accuracy", "")], "segment's"
    if results.audio_visual:
        losses = [("loss", "voice"), ("loss_clean", "voice, clean"), ("face_loss", "face"), ("face_loss_clean", "face, clean")]
        caption = "Of the training, and of the clean segments and faces of all utterances."
        accuracies, clean = [("accuracy", "voice"), ("face_accuracy", "face")], "segment's or face's"
    return [
        Panel("Loss", figures.curves(f"{system}-loss", history, losses, "loss, nats", moment=moment), caption),
        Panel(
            "Agreement with the pseudo labels",
            figures.curves(f"{system}-accuracy", history, accuracies, "utterances, %", scale=100),
            f"How often the clean {clean} prediction is the pseudo label; noisy labels should not be learnt to 100 %.",
        ),
    ]


def _tuning(system: str, history: pd.DataFrame) -> list[Panel]:
    accuracy = figures.curves(f"{system}-accuracy", history, [("accuracy", "")], "utterances, %", scale=100)
    return [
        Panel("Loss", figures.curves(f"{system}-loss", history, [("loss", "")], "loss, nats")),
        Panel(
            "Agreement with the labels", accuracy, "How often the class with the greatest cosine is the label, on the segments learnt from."
        ),
    ]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
