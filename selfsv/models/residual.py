"""What the encoders that see the spectrogram as an image have in common: blocks, masks, pooling.

Tensors are laid out [batch, channels, mel bands, frames]. Utterances of different lengths share a batch through a mask,
[batch, 1, 1, frames]: padding is zero wherever a convolution looks across time, as it would be beyond the end of an utterance alone.
A layer that strides over time keeps the frames 0, 2, 4 ...; so does `strided` with the mask.
"""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from selfsv.models.ecapa import frame_mask, statistics
from selfsv.settings.encoder import EncoderSettings

DEPTHS = (3, 4, 6, 3)  # blocks per stage, of all networks of 34 and of 50 layers (He et al., 2016)
Stride = tuple[int, int]  # over mel bands, over frames


class ConvNorm(nn.Module):
    """A convolution without bias, and BatchNorm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: Stride = (1, 1)):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, inputs, F, T] to [B, outputs, F / stride, T / stride], both rounded up."""
        return self.norm(self.conv(maps))


class ResidualBlock(nn.Module):
    """The part around a block's own convolutions, which subclasses define: a shortcut, the sum, a ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: Stride):
        super().__init__()
        self.outputs, self.stride = outputs, stride
        changes = inputs != outputs or stride != (1, 1)
        self.shortcut = ConvNorm(inputs, outputs, 1, stride) if changes else nn.Identity()

    def inner(self, maps: Tensor, before: Tensor | None, after: Tensor | None) -> Tensor:
        """What is added to the shortcut; its padding may hold anything.

        Args:
            maps: [B, inputs, F, T], zero in padding.
            before: the mask of `maps`.
            after: the mask of the output, whose frames are fewer where the block strides.
        """
        raise NotImplementedError

    def forward(self, maps: Tensor, mask: Tensor | None) -> Tensor:
        """[B, inputs, F, T] to [B, outputs, F / stride, T / stride], zero in padding; `mask` is that of the input."""
        after = strided(mask, self.stride)
        return masked_maps(F.relu(self.inner(maps, mask, after) + self.shortcut(maps), inplace=True), after)


class BasicBlock(ResidualBlock):
    """Two 3 x 3 convolutions (He et al., 2016)."""

    def __init__(self, inputs: int, channels: int, stride: Stride):
        super().__init__(inputs, channels, stride)
        self.first = ConvNorm(inputs, channels, 3, stride)
        self.second = ConvNorm(channels, channels, 3)

    def inner(self, maps: Tensor, before: Tensor | None, after: Tensor | None) -> Tensor:
        """[B, inputs, F, T] to [B, channels, F / stride, T / stride]."""
        return self.second(masked_maps(F.relu(self.first(maps), inplace=True), after))


BlockOf = Callable[[int, int, Stride], ResidualBlock]  # inputs, number of the stage from 0, stride


class Stages(nn.ModuleList):
    """All blocks of four stages, one after the other; the first one of a stage strides."""

    def __init__(self, block: BlockOf, inputs: int, strides: Sequence[Stride]):
        blocks: list[ResidualBlock] = []
        for stage, (depth, stride) in enumerate(zip(DEPTHS, strides, strict=True)):
            for index in range(depth):
                blocks.append(block(inputs, stage, (1, 1) if index else stride))
                inputs = blocks[-1].outputs
        super().__init__(blocks)
        self.widest, self.outputs = blocks[0].outputs, inputs  # channels of the largest maps, and of the last
        self.strides = [part.stride for part in blocks]

    def forward(self, maps: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """[B, inputs, F, T] to [B, outputs, F', T'], zero in padding, with its mask."""
        for block, stride in zip(self, self.strides, strict=True):
            maps = block(maps, mask)
            mask = strided(mask, stride)
        return maps, mask


class ResidualEncoder(nn.Module):
    """A 3 x 3 stem at full resolution, four stages of blocks, mean and deviation over time of every band and channel, embedding.

    Args:
        title: the architecture and its size, for people.
        settings: of the embedding.
        channels: of the stem.
        block: builds one from its inputs, its stage's number from 0, and its stride.
        mel_bins: F, features per frame.
    """

    def __init__(self, title: str, settings: EncoderSettings, channels: int, block: BlockOf, mel_bins: int):
        super().__init__()
        self.title = title
        self.stem = ConvNorm(1, channels, 3)
        self.blocks = Stages(block, channels, [(1, 1), (2, 2), (2, 2), (2, 2)])
        self.values_per_frame = self.blocks.widest * mel_bins  # of the largest tensors
        self.embed = embedding_layer(2 * self.blocks.outputs * halved(mel_bins, 3), settings)
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
        maps, mask = self.blocks(masked_maps(F.relu(self.stem(maps), inplace=True), mask), mask)
        return self.embed(map_statistics(maps, mask)).float()


def embedding_layer(inputs: int, settings: EncoderSettings, *, bias: bool = True) -> nn.Sequential:
    """[B, inputs] to embeddings, with BatchNorm where that is asked for."""
    norm = [nn.BatchNorm1d(settings.embedding)] if settings.embedding_batchnorm else []
    return nn.Sequential(nn.Linear(inputs, settings.embedding, bias=bias), *norm)


def initialise(network: nn.Module) -> None:
    """Draw the weights of all two-dimensional convolutions such that gradients keep their size (He et al., 2015)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def halved(bands: int, times: int) -> int:
    """The number of bands after so many strides of two."""
    return -(-bands // 2**times)


# Masks ----------------------------------------------------------------------------------------------------------------


def spectrogram(features: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Features [B, T, F] as an image [B, 1, F, T], zero in padding, and the mask [B, 1, 1, T] (None without `lengths`)."""
    mask = None if lengths is None else frame_mask(lengths, features).transpose(1, 2).unsqueeze(1)
    return masked_maps(features.transpose(1, 2).unsqueeze(1).contiguous(), mask), mask


def strided(mask: Tensor | None, stride: Stride) -> Tensor | None:
    """The mask of what a layer of this stride puts out."""
    return None if mask is None else mask[..., :: stride[1]]


def masked_maps(maps: Tensor, mask: Tensor | None) -> Tensor:
    """`maps` with padding set to zero, in their own precision; without a mask there is no padding."""
    return maps if mask is None else maps * mask.to(maps.dtype)


# Pooling --------------------------------------------------------------------------------------------------------------


def map_statistics(maps: Tensor, mask: Tensor | None) -> Tensor:
    """Mean and standard deviation over time of every channel and band, in float32: [B, C, F, T] to [B, 2 C F]."""
    weights = None if mask is None else (mask / mask.sum(dim=3, keepdim=True)).squeeze(1).transpose(1, 2)
    return statistics(maps.flatten(1, 2).transpose(1, 2), weights)


def map_mean(maps: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over bands and time: [B, C, F, T], zero in padding, to [B, C]."""
    if mask is None:
        return maps.mean(dim=(2, 3))
    return maps.sum(dim=(2, 3)) / (maps.shape[2] * mask.sum(dim=(2, 3)))
