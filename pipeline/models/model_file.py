"""`model.pt`: an encoder's settings and weights, and where they came from."""

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from pipeline import __version__
from pipeline.artifacts import load_torch, save_torch
from pipeline.audio.features import LogMel
from pipeline.errors import InputError
from pipeline.models.ecapa import EcapaTdnn
from pipeline.models.fbank_statistics import FbankStatistics
from pipeline.settings.audio import FeatureSettings
from pipeline.settings.encoder import EncoderSettings
from pipeline.settings.section import validated


class Model(NamedTuple):
    """What turns a waveform into an embedding."""

    encoder: nn.Module
    log_mel: LogMel
    provenance: dict[str, Any]


def save_model(
    path: Path, encoder: EncoderSettings | None, features: FeatureSettings, weights: dict[str, Tensor], **provenance: Any
) -> None:
    """Write `model.pt`. `encoder` is None for the fbank-statistics baseline; `provenance` says where the weights came from."""
    content = {
        "encoder": None if encoder is None else encoder.model_dump(mode="json"),
        "features": features.model_dump(mode="json"),
        "weights": {name: value.detach().cpu().contiguous() for name, value in weights.items()},
        "provenance": {**provenance, "code_version": __version__},
    }
    save_torch(path, content)


def load_model(path: Path) -> Model:
    """The model in the file at `path`, in evaluation mode.

    Raises:
        InputError: it is missing, damaged, or no model of this project.
    """
    content = load_torch(path)
    if not isinstance(content, dict) or not {"encoder", "features", "weights", "provenance"} <= content.keys():
        raise InputError(f"{path} is no model of this project")
    features = validated(FeatureSettings, content["features"])
    if content["encoder"] is None:
        encoder: nn.Module = FbankStatistics()
    else:
        encoder = EcapaTdnn(validated(EncoderSettings, content["encoder"]), features.mel_bins)
        encoder.load_state_dict(content["weights"])
    return Model(encoder.eval(), LogMel(features), content["provenance"])
