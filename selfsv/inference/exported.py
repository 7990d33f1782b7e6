"""The folder that `selfsv export` makes: weights as safetensors, everything else as JSON, and a page that says what the model is.

`model.safetensors` alone is enough: its header holds the same JSON and the page.

Versions: this program reads the files of every version from 1 to `VERSION`, and so will every later one. A file of each version is in
tests/selfsv/released/. A new key that may be missing needs no new version; whatever else changes does.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from selfsv.data.features import LogMel
from selfsv.errors import InputError
from selfsv.inference.speaker_model import Background, SpeakerModel
from selfsv.models.encoders import build_encoder
from selfsv.models.model_file import encoder_settings_of, settings_of, with_weights
from selfsv.scoring.calibration import Calibration, calibration_of
from selfsv.settings.audio import FeatureSettings

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
GRAPH, INT8_GRAPH, SHERPA_GRAPH = "model.onnx", "model-int8.onnx", "sherpa.onnx"
FORMAT = "selfsv speaker model"
VERSION = 1
CONFIG_KEY, CARD_KEY = "selfsv.config", "selfsv.card"  # in the header of the safetensors file
ENCODER = "encoder."  # before the names of the encoder's tensors; beside them lie `mean` and `cohort`, where known


def is_exported(path: Path) -> bool:
    """Whether `path` looks like an exported folder, or the weights of one."""
    return is_single(path) or ((path / CONFIG).is_file() and (path / WEIGHTS).is_file())


def is_single(path: Path) -> bool:
    """Whether `path` is a safetensors file."""
    return path.suffix == Path(WEIGHTS).suffix and path.is_file()


def read(path: Path, device: torch.device) -> SpeakerModel:
    """The exported model in a folder, or in its safetensors file alone.

    Raises:
        InputError: a file is damaged, or none of this format; the message names it.
    """
    config, place = config_of(path), path if is_single(path) else path / CONFIG
    file = path if is_single(path) else path / WEIGHTS
    tensors = _read_tensors(file)
    features = settings_of(place, FeatureSettings, config["features"])
    settings = encoder_settings_of(place, config["encoder"])
    weights = {name.removeprefix(ENCODER): value for name, value in tensors.items() if name.startswith(ENCODER)}
    encoder = with_weights(file, lambda: build_encoder(settings, features.mel_bins), weights)
    background = _background(file, tensors, settings.embedding)
    return SpeakerModel(
        name=str(path),
        encoder=encoder.eval().to(device),
        log_mel=LogMel(features).to(device),
        device=device,
        subtract_mean=bool(config["subtract_mean"]),
        cohort_top=int(config["cohort_top"]),
        provenance=config["provenance"],
        background_of=None if background is None else lambda: background,
        calibration=None if background is None else _calibration(place, config.get("calibration")),
    )


def config_of(path: Path) -> dict[str, Any]:
    """The config of an exported folder, or of its safetensors file alone.

    Raises:
        InputError: there is none, or one of a later version.
    """
    if not is_single(path):
        return read_config(path / CONFIG)
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(CONFIG_KEY)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}): export the model again") from None
    if text is None:
        raise InputError(f"{path} holds weights without the config of a model of this project: name the folder that `selfsv export` wrote")
    return checked_config(path, text)


def read_config(path: Path) -> dict[str, Any]:
    """The content of an exported model's `config.json`.

    Raises:
        InputError: it is none, or one of a later version.
    """
    try:
        return checked_config(path, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged ({error}): export the model again") from None


def checked_config(path: Path, text: str) -> dict[str, Any]:
    """The config in the JSON `text`, which the file at `path` holds; errors as of `read_config`."""
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}): export the model again") from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise InputError(f"{path} is not the config of a model of this project")
    version = config.get("version")
    if not isinstance(version, int) or not 1 <= version <= VERSION:
        raise InputError(f"{path} is of version {version!r}, this program reads versions 1 to {VERSION}: bring it up to date")
    expected = {"features": dict, "encoder": dict, "subtract_mean": bool, "cohort_top": int, "provenance": dict, "metrics": list}
    for key, kind in expected.items():
        if not isinstance(config.get(key), kind):
            raise InputError(f"{path} is damaged: '{key}' is missing or of the wrong type; export the model again")
    return config


def _calibration(path: Path, values: object) -> Calibration | None:
    if values is None:  # also of models that were exported before there were any
        return None
    try:
        return calibration_of(values)
    except ValueError as error:
        raise InputError(f"{path} is damaged ('calibration': {error}): export the model again") from None


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}): export the model again") from None


def _background(path: Path, tensors: dict[str, torch.Tensor], size: int) -> Background | None:
    if "mean" not in tensors and "cohort" not in tensors:
        return None
    mean, cohort = tensors.get("mean"), tensors.get("cohort")
    usable = mean is not None and cohort is not None and mean.shape == (size,) and cohort.ndim == 2 and cohort.shape[1] == size
    if not usable or not len(cohort) or not all(value.isfinite().all() for value in (mean, cohort)):  # type: ignore[arg-type,union-attr]
        raise InputError(f"{path} is damaged: its mean and cohort are not {size} finite values each; export the model again")
    return Background(mean.float().numpy(), cohort.float().numpy())  # type: ignore[union-attr]
