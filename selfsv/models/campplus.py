"""CAM++ (Wang et al., 2023): a densely connected TDNN whose layers are masked by their context.

Tensors are laid out [batch, frames, channels], as ECAPA-TDNN's; only the front end sees an image (`selfsv.models.residual`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsv.models.ecapa import FrameNorm, TimeDelay, masked, statistics
from selfsv.models.residual import BasicBlock, ConvNorm, embedding_layer, halved, initialise, masked_maps, spectrogram
from selfsv.settings.encoder import EncoderSettings

BLOCKS = ((12, 1), (24, 2), (16, 2))  # layers and dilation of the dense blocks
BOTTLENECK = 4  # channels of a layer's hidden frames, in units of its growth
SEGMENT = 100  # frames that share a context, beside that of the whole utterance


class FrontEnd(nn.Module):
    """Convolutions on the spectrogram that keep its frames and leave an eighth of its bands."""

    def __init__(self, channels: int, mel_bins: int):
        super().__init__()
        self.stem = ConvNorm(1, channels, 3)
        self.blocks = nn.ModuleList(BasicBlock(channels, channels, stride) for stride in ((2, 1), (1, 1), (2, 1), (1, 1)))
        self.leave = ConvNorm(channels, channels, 3, (2, 1))
        self.outputs = channels * halved(mel_bins, 3)
        initialise(self)

    def forward(self, features: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """[B, T, mel_bins] to [B, T, outputs], zero in padding, and the mask [B, T, 1]."""
        maps, mask = spectrogram(features, lengths)
        maps = masked_maps(F.relu(self.stem(maps), inplace=True), mask)
        for block in self.blocks:
            maps = block(maps, mask)
        maps = masked_maps(F.relu(self.leave(maps), inplace=True), mask)
        return maps.flatten(1, 2).transpose(1, 2), None if mask is None else mask[:, 0].transpose(1, 2)


class NormRelu(nn.Sequential):
    """BatchNorm over all frames, ReLU."""

    def __init__(self, channels: int):
        super().__init__(FrameNorm(channels), nn.ReLU(inplace=True))


class ContextMask(nn.Module):
    """Gates from the means over the whole utterance and over each segment of it, added up."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.squeeze = nn.Linear(inputs, inputs // 2)
        self.excite = nn.Linear(inputs // 2, outputs)

    def forward(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, inputs], zero in padding, to [B, T, outputs].

        All frames of a segment have the same context, so the gates are computed once per segment.
        """
        sums, counts = segment_sums(frames), segment_sums(frames.new_ones(1, frames.shape[1], 1) if mask is None else mask)
        context = sums.sum(dim=1, keepdim=True) / counts.sum(dim=1, keepdim=True) + sums / counts.clamp(min=1)
        gates = torch.sigmoid(self.excite(F.relu(self.squeeze(context))))
        return gates.unsqueeze(2).expand(-1, -1, SEGMENT, -1).flatten(1, 2)[:, : frames.shape[1]]


def segment_sums(frames: Tensor) -> Tensor:
    """Sums over segments of 100 frames, the last of which may be shorter: [B, T, C] to [B, T / 100 (rounded up), C]."""
    length = frames.shape[1]
    segments = (length + SEGMENT - 1) // SEGMENT
    return F.pad(frames, (0, 0, 0, segments * SEGMENT - length)).unflatten(1, (segments, SEGMENT)).sum(dim=2)


class DenseLayer(nn.Module):
    """A bottleneck and a time delay under the context's mask."""

    def __init__(self, inputs: int, growth: int, dilation: int):
        super().__init__()
        hidden = BOTTLENECK * growth
        self.enter = nn.Sequential(NormRelu(inputs), nn.Linear(inputs, hidden, bias=False), NormRelu(hidden))
        self.local = TimeDelay(hidden, growth, kernel=3, dilation=dilation, bias=False)
        self.context = ContextMask(hidden, growth)

    def forward(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, inputs] to [B, T, growth]; padding may hold anything, before and after."""
        hidden = masked(self.enter(frames), mask)
        return self.local(hidden) * self.context(hidden, mask)


class DenseBlock(nn.Module):
    """Layers that see the outputs of all layers before them, then half as many channels."""

    def __init__(self, inputs: int, growth: int, layers: int, dilation: int):
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(inputs + index * growth, growth, dilation) for index in range(layers))
        joined = inputs + layers * growth
        self.outputs = joined // 2
        self.leave = nn.Sequential(NormRelu(joined), nn.Linear(joined, self.outputs, bias=False))

    def forward(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, inputs] to [B, T, outputs]; padding may hold anything, before and after."""
        for layer in self.layers:
            frames = torch.cat([frames, layer(frames, mask)], dim=2)
        return self.leave(frames)


class CamPlusPlus(nn.Module):
    """Log-mel features to a speaker embedding.

    Args:
        settings: the numbers of channels, in `settings.campplus`.
        mel_bins: features per frame.
    """

    def __init__(self, settings: EncoderSettings, mel_bins: int):
        super().__init__()
        sizes = settings.campplus
        self.title = f"CAM++ of growth {sizes.growth}"
        self.front = FrontEnd(sizes.front, mel_bins)
        self.enter = TimeDelay(self.front.outputs, sizes.channels, kernel=5, stride=2, bias=False)
        self.enter_norm = NormRelu(sizes.channels)
        self.blocks = nn.ModuleList()
        inputs = sizes.channels
        for layers, dilation in BLOCKS:
            self.blocks.append(block := DenseBlock(inputs, sizes.growth, layers, dilation))
            inputs = block.outputs
        self.leave_norm = NormRelu(inputs)
        self.embed = embedding_layer(2 * inputs, settings, bias=False)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embeddings of a batch of utterances.

        Args:
            features: [B, T, mel_bins].
            lengths: [B] true numbers of frames where utterances were padded to T; None where all are T long.

        Returns:
            [B, embedding], float32, not normalised in length.
        """
        frames, mask = self.front(features, lengths)
        frames = self.enter_norm(self.enter(frames))
        mask = None if mask is None else mask[:, :: self.enter.stride]
        for block in self.blocks:
            frames = block(frames, mask)
        weights = None if mask is None else mask / mask.sum(dim=1, keepdim=True)
        return self.embed(statistics(self.leave_norm(frames), weights)).float()
