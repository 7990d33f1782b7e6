"""The folder that `selfsv export` makes: weights as safetensors, everything else as JSON, and a page that says what the model is."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from selfsv.data.features import LogMel
from selfsv.errors import InputError
from selfsv.inference.speaker_model import Background, SpeakerModel
from selfsv.models.encoders import build_encoder
from selfsv.models.model_file import encoder_settings_of, settings_of, with_weights
from selfsv.scoring.calibration import Calibration, calibration_of
from selfsv.settings.audio import FeatureSettings

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
GRAPH, SHERPA_GRAPH = "model.onnx", "sherpa.onnx"
FORMAT = "selfsv speaker model"
VERSION = 1
ENCODER = "encoder."  # before the names of the encoder's tensors; beside them lie `mean` and `cohort`, where known


def is_exported(folder: Path) -> bool:
    """Whether `folder` looks like an exported model."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def read(folder: Path, device: torch.device) -> SpeakerModel:
    """The exported model in `folder`.

    Raises:
        InputError: a file is damaged, or none of this format; the message names it.
    """
    config, tensors = read_config(folder / CONFIG), _read_tensors(folder / WEIGHTS)
    features = settings_of(folder / CONFIG, FeatureSettings, config["features"])
    settings = encoder_settings_of(folder / CONFIG, config["encoder"])
    weights = {name.removeprefix(ENCODER): value for name, value in tensors.items() if name.startswith(ENCODER)}
    encoder = with_weights(folder / WEIGHTS, lambda: build_encoder(settings, features.mel_bins), weights)
    background = _background(folder / WEIGHTS, tensors, settings.embedding)
    return SpeakerModel(
        name=str(folder),
        encoder=encoder.eval().to(device),
        log_mel=LogMel(features).to(device),
        device=device,
        subtract_mean=bool(config["subtract_mean"]),
        cohort_top=int(config["cohort_top"]),
        provenance=config["provenance"],
        background_of=None if background is None else lambda: background,
        calibration=None if background is None else _calibration(folder / CONFIG, config.get("calibration")),
    )


def read_config(path: Path) -> dict[str, Any]:
    """The content of an exported model's `config.json`.

    Raises:
        InputError: it is none, or one of a later version.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}): export the model again") from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise InputError(f"{path} is not the config of a model of this project")
    if config.get("version") != VERSION:
        raise InputError(f"{path} is of version {config.get('version')!r}, this program reads version {VERSION}: bring it up to date")
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
