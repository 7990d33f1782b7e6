"""FastResNet34 (Chung et al., 2020): a thin ResNet34 with squeeze-excitation and self-attentive pooling.

It is the encoder of the angular prototypical and the contrastive equilibrium losses' papers. Theirs has 40 mel bands.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsv.models.residual import (
    ConvNorm,
    ResidualBlock,
    Stages,
    Stride,
    embedding_layer,
    initialise,
    map_mean,
    masked_maps,
    spectrogram,
)
from selfsv.settings.encoder import EncoderSettings

REDUCTION = 8  # of channels in squeeze-excitation
SMALLEST_VARIANCE = 1e-5


class SeBlock(ResidualBlock):
    """Two 3 x 3 convolutions, then channels rescaled by their mean (Hu et al., 2018). The first has its ReLU before its BatchNorm."""

    def __init__(self, inputs: int, channels: int, stride: Stride):
        super().__init__(inputs, channels, stride)
        self.first = ConvNorm(inputs, channels, 3, stride)
        self.second = ConvNorm(channels, channels, 3)
        self.squeeze = nn.Linear(channels, channels // REDUCTION)
        self.excite = nn.Linear(channels // REDUCTION, channels)

    def inner(self, maps: Tensor, before: Tensor | None, after: Tensor | None) -> Tensor:
        """[B, inputs, F, T] to [B, channels, F / stride, T / stride]."""
        rectified = self.first.norm(F.relu(self.first.conv(maps), inplace=True))
        maps = masked_maps(self.second(masked_maps(rectified, after)), after)
        gates = torch.sigmoid(self.excite(F.relu(self.squeeze(map_mean(maps, after)))))
        return maps * gates[:, :, None, None]


class SelfAttentivePooling(nn.Module):
    """Mean over time, frames weighed by one head of attention (Cai et al., 2018)."""

    def __init__(self, channels: int):
        super().__init__()
        self.hidden = nn.Linear(channels, channels)
        self.attend = nn.Linear(channels, 1, bias=False)

    def forward(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, C] to [B, C] in float32; `mask` is [B, T, 1]."""
        scores = self.attend(torch.tanh(self.hidden(frames))).float()
        if mask is not None:
            scores = scores.masked_fill(mask == 0, float("-inf"))
        return (torch.softmax(scores, dim=1) * frames.float()).sum(dim=1)


class FastResNet34(nn.Module):
    """Log-mel features to a speaker embedding.

    Args:
        settings: the number of channels, in `settings.fast_resnet34`.
        mel_bins: features per frame.
    """

    def __init__(self, settings: EncoderSettings, mel_bins: int):
        super().__init__()
        channels = settings.fast_resnet34.channels
        self.title = f"FastResNet34 of {channels} channels"
        self.stem = ConvNorm(1, channels, 7, (2, 1))

        def block(inputs: int, stage: int, stride: Stride) -> SeBlock:
            return SeBlock(inputs, channels * 2**stage, stride)

        self.blocks = Stages(block, channels, [(1, 1), (2, 2), (2, 2), (1, 1)])
        self.pool = SelfAttentivePooling(self.blocks.outputs)
        self.embed = embedding_layer(self.blocks.outputs, settings)
        initialise(self)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embeddings of a batch of utterances.

        Args:
            features: [B, T, mel_bins].
            lengths: [B] true numbers of frames where utterances were padded to T; None where all are T long.

        Returns:
            [B, embedding], float32, not normalised in length.
        """
        maps, mask = spectrogram(features, lengths)
        maps = masked_maps(F.relu(self.stem(standardised(maps, mask)), inplace=True), mask)
        maps, mask = self.blocks(maps, mask)
        frames = maps.mean(dim=2).transpose(1, 2)
        return self.embed(self.pool(frames, None if mask is None else mask[:, 0].transpose(1, 2))).float()


def standardised(maps: Tensor, mask: Tensor | None) -> Tensor:
    """Every utterance's every band with mean 0 and variance 1 over time: [B, 1, F, T], zero in padding, to the same."""
    count = maps.shape[3] if mask is None else mask.sum(dim=3, keepdim=True)
    centred = masked_maps(maps - maps.sum(dim=3, keepdim=True) / count, mask)
    variance = centred.square().sum(dim=3, keepdim=True) / count
    return centred * torch.rsqrt(variance + SMALLEST_VARIANCE)
