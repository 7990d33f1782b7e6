"""The architectures of the speaker encoder: everything that builds or loads one looks here.

An encoder takes features [B, T, mel_bins] and, where utterances were padded, their numbers of frames [B]; it gives embeddings
[B, settings.embedding] in float32, not normalised in length. Padding must not change them. Its attribute `title` names architecture and
size, for people.
"""

from collections.abc import Callable

import torch
from torch import nn

from selfsv.models.campplus import CamPlusPlus
from selfsv.models.ecapa import EcapaTdnn
from selfsv.models.fast_resnet34 import FastResNet34
from selfsv.models.ivector import IvectorExtractor
from selfsv.models.res2net50 import Res2Net50
from selfsv.models.resnet34 import ResNet34
from selfsv.settings.encoder import Architecture, EncoderSettings
from selfsv.settings.ivector import ExtractorSettings

# By the `architecture` of the settings; its class takes them and the number of features per frame.
ARCHITECTURES: dict[Architecture, Callable[[EncoderSettings, int], nn.Module]] = {
    "ecapa_tdnn": EcapaTdnn,
    "resnet34": ResNet34,
    "res2net50": Res2Net50,
    "fast_resnet34": FastResNet34,
    "campplus": CamPlusPlus,
}


def build_encoder(settings: EncoderSettings | ExtractorSettings, mel_bins: int) -> nn.Module:
    """An encoder as the settings describe it, with random weights; an i-vector extractor, which has no gradients, with none yet."""
    if isinstance(settings, ExtractorSettings):
        return IvectorExtractor(settings, mel_bins)
    return ARCHITECTURES[settings.architecture](settings, mel_bins)


def untrained(settings: EncoderSettings, mel_bins: int, seed: int, stage: int) -> nn.Module:
    """An encoder with random weights that depend on (seed, stage) alone; what is made after it draws on from there."""
    torch.manual_seed(1000 * seed + stage)
    return build_encoder(settings, mel_bins)


def title_of(encoder: nn.Module) -> str:
    """The architecture and its size, for people. What is no architecture of the table has no weights."""
    return str(getattr(encoder, "title", "fbank statistics"))
