"""`model.pt`: an encoder's settings and weights, and where they came from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from selfsv.artifacts import load_torch, save_torch
from selfsv.data.features import LogMel
from selfsv.errors import InputError, SettingsError
from selfsv.models.encoders import build_encoder
from selfsv.models.fbank_statistics import FbankStatistics, WhitenedFbankStatistics
from selfsv.provenance import code_version
from selfsv.settings.audio import FeatureSettings
from selfsv.settings.encoder import EncoderSettings
from selfsv.settings.ivector import ExtractorSettings
from selfsv.settings.section import Section, validated


class Model(NamedTuple):
    """An encoder and the features that it takes."""

    encoder: nn.Module
    log_mel: LogMel
    provenance: dict[str, Any]
    encoder_settings: EncoderSettings | None  # None: nothing can be learnt
    feature_settings: FeatureSettings


def save_model(
    path: Path,
    encoder: EncoderSettings | ExtractorSettings | None,
    features: FeatureSettings,
    weights: dict[str, Tensor],
    **provenance: Any,
) -> None:
    """Write `model.pt`. `encoder` is None for fbank statistics, whitened ones with `weights`; `provenance`: where weights came from."""
    content = {
        "encoder": None if encoder is None else encoder.model_dump(mode="json"),
        "features": features.model_dump(mode="json"),
        "weights": {name: value.detach().cpu().contiguous() for name, value in weights.items()},
        "provenance": {"code_version": code_version(), "torch": str(torch.__version__), **provenance},
    }
    save_torch(path, content)


def load_model(path: Path) -> Model:
    """The model in the file at `path`, in evaluation mode.

    Raises:
        InputError: it is missing, damaged, or no model of this project, or its weights do not belong to its settings.
    """
    content = load_torch(path)
    if not isinstance(content, dict) or not {"encoder", "features", "weights", "provenance"} <= content.keys():
        raise InputError(f"{path} is no model of this project")
    features = settings_of(path, FeatureSettings, content["features"])
    if content["encoder"] is None:
        statistics = _fbank_statistics(path, features, content["weights"])
        return Model(statistics.eval(), LogMel(features), content["provenance"], None, features)
    settings = encoder_settings_of(path, content["encoder"])
    encoder = with_weights(path, lambda: build_encoder(settings, features.mel_bins), content["weights"])
    trainable = settings if isinstance(settings, EncoderSettings) else None
    return Model(encoder.eval(), LogMel(features), content["provenance"], trainable, features)


def _fbank_statistics(path: Path, features: FeatureSettings, weights: object) -> nn.Module:
    return with_weights(path, lambda: WhitenedFbankStatistics(features.mel_bins), weights) if weights else FbankStatistics()


Settings = TypeVar("Settings", bound=Section)
Network = TypeVar("Network", bound=nn.Module)


def settings_of(path: Path, section: type[Settings], values: object) -> Settings:
    """The settings in the model file at `path`.

    Raises:
        InputError: they are none; the message names the file.
    """
    try:
        return validated(section, values)
    except SettingsError as error:
        raise InputError(f"{path} is no model of this project: {error}") from None


def encoder_settings_of(path: Path, values: object) -> EncoderSettings | ExtractorSettings:
    """The settings of the encoder, or of the i-vector extractor, in the model file at `path`.

    Raises:
        InputError: as for `settings_of`.
    """
    ivector = isinstance(values, dict) and values.get("architecture") == "ivector"
    return settings_of(path, ExtractorSettings, values) if ivector else settings_of(path, EncoderSettings, values)


def with_weights(path: Path, build: Callable[[], Network], weights: object) -> Network:
    """The network that `build` makes, with the weights in the model file at `path`.

    Raises:
        InputError: the weights are not those of such a network; it then is not built, however large it would be.
    """
    with torch.device("meta"):
        expected = {name: value.shape for name, value in build().state_dict().items()}
    if not isinstance(weights, dict) or {name: getattr(value, "shape", None) for name, value in weights.items()} != expected:
        raise InputError(f"{path} is no model of this project: its weights are not those of the network that its settings describe")
    network = build()
    network.load_state_dict(weights)
    return network
