"""From an experiment to a folder that can be uploaded as it is."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save

from selfsv.artifacts import load_torch, read_arrow, read_table
from selfsv.errors import InputError
from selfsv.inference import exported
from selfsv.inference.loading import CALIBRATION, experiment_settings, load, model_file
from selfsv.inference.model_card import model_card
from selfsv.inference.sample import real_waves
from selfsv.inference.speaker_model import SpeakerModel
from selfsv.models.encoders import title_of
from selfsv.models.fbank_statistics import FbankStatistics

METRICS = ("trials", "norm", "eer", "min_dcf", "targets", "nontargets")
INTERVALS = ("eer_low", "eer_high", "min_dcf_low", "min_dcf_high", "resampled", "units")  # not in metrics of earlier versions


@dataclass(frozen=True)
class Contents:
    """What an exported folder holds beside the weights.

    Attributes:
        name: what the card calls the model.
        licence: of the weights, as model hubs name it.
        onnx: whether there is a graph from waveform to embedding.
        int8: whether that graph is there in 8 bits, too.
        sherpa: whether there is a graph for sherpa-onnx.
        recordings: files that fit and check sherpa-onnx's features; none: the experiment's packed training corpus.
        least_cosine: between embeddings by sherpa-onnx and the model's own, below which nothing is exported.
    """

    name: str
    licence: str
    onnx: bool = False
    int8: bool = False
    sherpa: bool = False
    recordings: Sequence[str] = ()
    least_cosine: float = 0.98


class Exported(NamedTuple):
    """The outcome of an export."""

    files: list[str]  # their names
    agreement: str  # how near sherpa-onnx's embeddings are to the model's; empty without a graph for it


def export(source: Path, folder: Path, contents: Contents, *, replace: bool = False) -> Exported:
    """Write the model at `source` into `folder`, whole or not at all: weights, config, model card and the graphs that are asked for.

    Args:
        source: an experiment's folder (its last round), a round's folder, or a model file.
        replace: whether what is in `folder` may go.

    Raises:
        InputError: there is no such model, it is the fbank baseline, the folder is not empty, or a graph cannot be written.
    """
    if folder.exists() and not (folder.is_dir() and (replace or not any(folder.iterdir()))):
        raise InputError(f"{folder} is not empty: name another folder, or say that its content may go (--replace)")
    if exported.is_exported(source):
        raise InputError(f"{source} is an exported model already: copy it, or export from its experiment")
    file = model_file(source)
    model = load(file, "cpu")
    if isinstance(model.encoder, FbankStatistics):
        raise InputError(f"{file} is a baseline without weights: there is nothing to export")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        content_folder = Path(temporary) / "model"
        content_folder.mkdir()
        agreement = _fill(content_folder, model, file, contents)
        if folder.exists():
            shutil.rmtree(folder)
        content_folder.rename(folder)
    return Exported(sorted(path.name for path in folder.iterdir()), agreement)


def _fill(folder: Path, model: SpeakerModel, file: Path, contents: Contents) -> str:
    """Write the files; how near sherpa-onnx's embeddings are, if there is a graph for it."""
    content = load_torch(file)
    config = {
        "format": exported.FORMAT,
        "version": exported.VERSION,
        "features": content["features"],
        "encoder": content["encoder"],
        "subtract_mean": model.subtract_mean,
        "cohort_top": model.cohort_top,
        "provenance": content["provenance"],
        "calibration": None if model.calibration is None else model.calibration._asdict(),
        "metrics": _metrics(file),
    }
    text = json.dumps(config, indent=2) + "\n"
    (folder / exported.CONFIG).write_text(text, encoding="utf-8")
    facts: dict[str, Any] = {"name": contents.name, "licence": contents.licence, "encoder": title_of(model.encoder)}
    if contents.onnx:
        from selfsv.inference.onnx_graph import write_graph  # takes long to load, and needs packages of its own

        int8 = folder / exported.INT8_GRAPH if contents.int8 else None
        write_graph(model, folder / exported.GRAPH, contents.name, contents.licence, int8)
    if contents.sherpa:
        facts["threshold"] = cosine_threshold(file)
        facts["agreement"] = _for_sherpa(folder / exported.SHERPA_GRAPH, model, file, contents, facts["threshold"])
    card = model_card(config, facts | _of_experiment(file), contents.onnx)
    (folder / exported.CARD).write_text(card, encoding="utf-8")
    header = {"format": "pt", exported.CONFIG_KEY: text, exported.CARD_KEY: card}
    (folder / exported.WEIGHTS).write_bytes(save(_tensors(model), metadata=header))
    return facts.get("agreement", "")


def _for_sherpa(path: Path, model: SpeakerModel, file: Path, contents: Contents, threshold: float | None) -> str:
    from selfsv.inference.sherpa_graph import write_sherpa_graph  # as above

    facts = {"name": contents.name, "licence": contents.licence, "fingerprint": model.fingerprint}
    facts |= {} if threshold is None else {"threshold": f"{threshold:.4f}"}
    return write_sherpa_graph(model, path, facts, real_waves(file, contents.recordings), contents.least_cosine).text()


def cosine_threshold(file: Path) -> float | None:
    """The cosine at which both answers are equally likely, by the calibration without labels; None without one.

    sherpa-onnx has no s-norm, which the model's own calibration may be for: the file holds one for the cosine, too.
    """
    path = file.resolve().parent / CALIBRATION
    if experiment_settings(file) is None or not path.is_file():
        return None
    table = read_table(path, ["norm", "quality", "offset", "score_weight"])
    rows = table[(table["norm"] == "cosine") & ~table["quality"].astype(bool) & (table["score_weight"] > 0)]
    return None if rows.empty else float(-rows["offset"].iloc[0] / rows["score_weight"].iloc[0])


def _tensors(model: SpeakerModel) -> dict[str, torch.Tensor]:
    tensors = {f"{exported.ENCODER}{name}": value.contiguous() for name, value in model.encoder.state_dict().items()}
    if model.background_of is not None:
        tensors |= {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in model.background._asdict().items()}
    return tensors


def _metrics(file: Path) -> list[dict[str, Any]]:
    """The error rates that the experiment measured for this model."""
    path, settings = file.resolve().parents[1] / "metrics.parquet", experiment_settings(file)
    if settings is None or not path.is_file():
        return []
    columns = [*METRICS, *(name for name in INTERVALS if name in read_arrow(path).column_names)]
    table = read_table(path, ["system", *columns])
    rows = table.loc[table["system"] == file.resolve().parent.name, columns]
    return [row | {"p_target": settings.metrics.p_target} for row in json.loads(rows.to_json(orient="records"))]


def _of_experiment(file: Path) -> dict[str, Any]:
    """Facts for the card about the experiment that the model is in. No path is part of them."""
    settings = experiment_settings(file)
    if settings is None:
        return {}
    facts: dict[str, Any] = {"system": file.resolve().parent.name, "settings": settings.model_dump(mode="json")}
    manifest = file.resolve().parents[1] / "data" / settings.train_corpus / "manifest.parquet"
    if manifest.is_file():
        rows = read_table(manifest, ["status", "num_samples"])
        used = rows[rows["status"] == "ok"]
        hours = float(used["num_samples"].sum()) / 16_000 / 3600
        facts["corpora"] = {settings.train_corpus: {"utterances": len(used), "hours": hours}}
    return facts
