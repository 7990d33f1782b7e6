"""The content of an experiment, a model file or an exported folder: plain values, and text for a person."""

from pathlib import Path
from typing import Any

import pandas as pd

from selfsv.artifacts import read_table
from selfsv.errors import InputError
from selfsv.inference import exported
from selfsv.inference.loading import MODEL, SETTINGS, experiment_settings, load, located, model_file
from selfsv.inference.speaker_model import SpeakerModel
from selfsv.models.encoders import title_of
from selfsv.scoring.systems import order, title
from selfsv.settings.experiment import Experiment
from selfsv.settings.stage_one import stage_one_title

SHOWN_SETTINGS = ("modality", "seed", "rounds", "initial_model", "train_corpus")


def described(path: Path) -> dict[str, Any]:
    """The content of `path`: `model`, and where there are such things `experiment`, `systems`, `metrics`, `settings`.

    Raises:
        InputError: nothing of this project is there.
    """
    name, path = str(path), located(path)
    if exported.is_exported(path):
        config = exported.config_of(path)
        return {"model": _model(load(path, "cpu"), name), "metrics": config["metrics"]}
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if _is_experiment(path):
        return _experiment(path)
    file = model_file(path)
    metrics = file.resolve().parents[1] / "metrics.parquet"
    rows = _metrics(metrics, file.resolve().parent.name) if metrics.is_file() and experiment_settings(file) else []
    return {"model": _model(load(file, "cpu"), str(file)), "metrics": rows}


def _is_experiment(path: Path) -> bool:
    return path.is_dir() and not (path / MODEL).is_file() and ((path / SETTINGS).is_file() or (path / "data").is_dir())


def _experiment(folder: Path) -> dict[str, Any]:
    """Any part of a run: what is not there yet is left out."""
    settings = experiment_settings(folder / "iter_0" / MODEL)
    systems = sorted((path.parent.name for path in folder.glob(f"*/{MODEL}")), key=order)
    description: dict[str, Any] = {"experiment": str(folder), "systems": [_system(folder / name, settings) for name in systems]}
    if any(name.startswith("iter_") for name in systems):
        description["model"] = _model(load(folder, "cpu"), str(model_file(folder)))
    if (folder / "metrics.parquet").is_file():
        description["metrics"] = _metrics(folder / "metrics.parquet")
    if settings is not None:
        description["settings"] = settings.model_dump(mode="json")
    return description


def _system(folder: Path, settings: Experiment | None) -> dict[str, Any]:
    called = title(folder.name) if settings is None else title(folder.name, stage_one_title(settings))
    row: dict[str, Any] = {"system": folder.name, "title": called, "model": str(folder / MODEL)}
    if (folder / "history.parquet").is_file():
        history = read_table(folder / "history.parquet", ["seconds"])
        row |= {"epochs": len(history), "hours": float(history["seconds"].sum()) / 3600}
    row["embeddings"] = sorted(path.stem for path in folder.glob("embeddings/*.parquet"))
    return row


def _metrics(path: Path, system: str | None = None) -> list[dict[str, Any]]:
    table = read_table(path, ["system", "trials", "norm", "eer", "min_dcf", "targets", "nontargets"])
    rows = table if system is None else table[table["system"] == system]
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _model(model: SpeakerModel, file: str) -> dict[str, Any]:
    return {
        "file": file,
        "encoder": title_of(model.encoder),
        "parameters": model.parameters,
        "embedding": model.dimensions,
        "fingerprint": model.fingerprint,
        "mean_subtraction": model.subtract_mean,
        "s_norm": model.background_of is not None,
        "provenance": model.provenance,
    }


# --- text ------------------------------------------------------------------------------------------------------------


def text(description: dict[str, Any]) -> str:
    """The result of `described` as text for a terminal."""
    parts = [_model_text(description["model"])] if "model" in description else []
    if settings := description.get("settings"):
        corpora = ", ".join(settings["corpora"])
        parts.insert(0, "\n".join(["settings", *(f"  {key}: {settings[key]}" for key in SHOWN_SETTINGS), f"  corpora: {corpora}"]))
    if "experiment" in description:
        parts.insert(0, f"experiment {description['experiment']}")
        parts.append("\n".join(["systems", *map(_system_text, description["systems"])]))
    if description.get("metrics"):
        parts.append(_metrics_text(description["metrics"]))
    return "\n\n".join(parts)


def _model_text(model: dict[str, Any]) -> str:
    provenance = ", ".join(f"{key} {value}" for key, value in model["provenance"].items())
    comparing = "cosine" + (" after mean subtraction" if model["mean_subtraction"] else "") + (", s-norm" if model["s_norm"] else "")
    return "\n".join(
        [
            f"model {model['file']}",
            f"  {model['encoder']}, {model['parameters']:,} parameters, embeddings of {model['embedding']} dimensions",
            f"  compares by: {comparing}",
            f"  made by: {provenance}",
            f"  fingerprint: {model['fingerprint']}",
        ]
    )


def _system_text(row: dict[str, Any]) -> str:
    trained = f"{row['epochs']} epochs, {row['hours']:.2f} h" if "epochs" in row else "not trained"
    return f"  {row['system']:20} {row['title']:20} {trained:20} embeddings: {', '.join(row['embeddings']) or 'none'}"


def _metrics_text(rows: list[dict[str, Any]]) -> str:
    table = pd.DataFrame(rows)
    table["EER %"] = (100 * table["eer"]).map("{:.2f}".format)
    table["minDCF"] = table["min_dcf"].map("{:.3f}".format)
    columns = ["trials", "system", "norm", "EER %", "minDCF", "targets", "nontargets"]
    shown = table[[name for name in columns if name in table]]  # an exported model's metrics are of one system, without its name
    return "metrics\n" + "\n".join(f"  {line}" for line in shown.to_string(index=False).splitlines())
