"""Res2Net50 for speakers (Gao et al., 2019), with the layout of hyperion's (Villalba et al., VoxSRC 2020 and later)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsv.models.residual import ConvNorm, ResidualBlock, ResidualEncoder, Stride, masked_maps
from selfsv.settings.encoder import EncoderSettings

EXPANSION = 4  # a block's outputs over the channels of its stage


class Res2Block(ResidualBlock):
    """1 x 1 down, 3 x 3 in groups, 1 x 1 up.

    Each group but the last is convolved together with what the previous one gave, the last is passed on. Where the block strides, groups
    are convolved by themselves and the last is averaged.
    """

    def __init__(self, inputs: int, channels: int, width: int, scale: int, stride: Stride):
        super().__init__(inputs, EXPANSION * channels, stride)
        self.width = width
        self.enter = ConvNorm(inputs, width * scale, 1)
        self.groups = nn.ModuleList(ConvNorm(width, width, 3, stride) for _ in range(scale - 1))
        self.leave = ConvNorm(width * scale, EXPANSION * channels, 1)
        self.pool = nn.Identity() if stride == (1, 1) else nn.AvgPool2d(3, stride, padding=1)

    def inner(self, maps: Tensor, before: Tensor | None, after: Tensor | None) -> Tensor:
        """[B, inputs, F, T] to [B, 4 channels, F / stride, T / stride]."""
        *groups, last = masked_maps(F.relu(self.enter(maps), inplace=True), before).split(self.width, dim=1)
        outputs: list[Tensor] = []
        for layer, group in zip(self.groups, groups, strict=True):
            joined = group + outputs[-1] if outputs and self.stride == (1, 1) else group
            outputs.append(masked_maps(F.relu(layer(joined), inplace=True), after))
        return self.leave(torch.cat([*outputs, self.pool(last)], dim=1))


class Res2Net50(ResidualEncoder):
    """Log-mel features to a speaker embedding, through 3, 4, 6 and 3 Res2 blocks.

    Args:
        settings: channels, width and scale, in `settings.res2net50`.
        mel_bins: features per frame.
    """

    def __init__(self, settings: EncoderSettings, mel_bins: int):
        sizes = settings.res2net50

        def block(inputs: int, stage: int, stride: Stride) -> Res2Block:
            return Res2Block(inputs, sizes.channels * 2**stage, sizes.width * 2**stage, sizes.scale, stride)

        super().__init__(f"Res2Net50 of {sizes.scale} x {sizes.width} channels", settings, sizes.channels, block, mel_bins)
