"""ECAPA-TDNN (Desplanques et al., 2020; paper Table III).

Tensors are laid out [batch, frames, channels]: 91 % of the encoder's work is then plain matrix products, without the
copies between memory layouts that channel-first convolutions pay for on a GPU.

What lies between two matrix products moves memory and hardly computes. In training on a GPU `selfsv.models.fused` does it in fewer
passes over memory.

Utterances of different lengths share a batch through `lengths`: padding frames are kept at zero wherever a layer looks
across time, so that an utterance's embedding does not depend on what it was batched with.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsv.settings.encoder import EncoderSettings

RES2_SCALE = 8
SMALLEST_VARIANCE = 1e-7


class TimeDelay(nn.Module):
    """A 1-D convolution over time, as a matrix product on spliced frames."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, stride: int = 1, *, bias: bool = True):
        super().__init__()
        self.kernel, self.dilation, self.stride = kernel, dilation, stride
        self.affine = nn.Linear(kernel * inputs, outputs, bias=bias)

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, inputs] to [B, T / stride (rounded up), outputs]; frames beyond either end count as zero."""
        return self.affine(self.spliced(frames) if self.kernel > 1 else frames)

    def spliced(self, frames: Tensor) -> Tensor:
        """[B, T, inputs] to [B, T / stride (rounded up), kernel * inputs]: each frame beside those that the kernel reaches."""
        reach = self.dilation * (self.kernel // 2)
        padded = F.pad(frames, (0, 0, reach, reach))
        length = frames.shape[1]
        starts = [k * self.dilation for k in range(self.kernel)]
        return torch.cat([padded[:, start : start + length : self.stride] for start in starts], dim=2)


class FrameNorm(nn.BatchNorm1d):
    """BatchNorm over all frames of all utterances of the batch."""

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, C] to [B, T, C]."""
        return super().forward(frames.reshape(-1, frames.shape[-1])).view(frames.shape)


class TdnnLayer(nn.Module):
    """Time delay, ReLU, BatchNorm."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1):
        super().__init__()
        self.delay = TimeDelay(inputs, outputs, kernel, dilation)
        self.norm = FrameNorm(outputs)

    def forward(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, inputs] to [B, T, outputs], zero where `mask` ([B, T, 1]) is."""
        return masked(self.norm(F.relu(self.delay(frames))), mask)


class Res2Layer(nn.Module):
    """Channels in eight groups; each group but the last sees the convolved previous one (Gao et al., 2019)."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        width = channels // RES2_SCALE
        self.layers = nn.ModuleList(TdnnLayer(width, width, kernel=3, dilation=dilation) for _ in range(RES2_SCALE - 1))

    def forward(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, C] to [B, T, C]."""
        *groups, last = frames.chunk(RES2_SCALE, dim=2)
        outputs: list[Tensor] = []
        for layer, group in zip(self.layers, groups, strict=True):
            outputs.append(layer(group + outputs[-1] if outputs else group, mask))
        return torch.cat([*outputs, last], dim=2)


class SqueezeExcitation(nn.Module):
    """How much each channel counts, by what the whole utterance says of it (Hu et al., 2018)."""

    def __init__(self, channels: int, bottleneck: int):
        super().__init__()
        self.squeeze = nn.Linear(channels, bottleneck)
        self.excite = nn.Linear(bottleneck, channels)

    def forward(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, C] to factors [B, C]."""
        mean = frames.mean(dim=1) if mask is None else (frames * mask).sum(dim=1) / mask.sum(dim=1)
        return torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))


class SeRes2Block(nn.Module):
    """1x1, Res2, 1x1, squeeze-excitation, with a residual connection."""

    def __init__(self, channels: int, dilation: int, bottleneck: int):
        super().__init__()
        self.enter = TdnnLayer(channels, channels)
        self.res2 = Res2Layer(channels, dilation)
        self.leave = TdnnLayer(channels, channels)
        self.se = SqueezeExcitation(channels, bottleneck)

    def forward(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, C] to [B, T, C]."""
        inner = self.leave(self.res2(self.enter(frames, mask), mask), mask)
        return frames + inner * self.se(inner, mask).unsqueeze(1)


class AttentiveStatisticsPooling(nn.Module):
    """Mean and deviation over time under channel-wise attention that also sees the global statistics."""

    def __init__(self, channels: int, bottleneck: int):
        super().__init__()
        self.local = nn.Linear(channels, bottleneck)
        # The attention's input is [frame; mean; deviation]. Mean and deviation are the same in every frame, so their
        # share of the first layer is computed once per utterance.
        self.context = nn.Linear(2 * channels, bottleneck, bias=False)
        self.attend = nn.Linear(bottleneck, channels)

    def forward(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, C] to [B, 2 C]."""
        uniform = None if mask is None else mask / mask.sum(dim=1, keepdim=True)
        context = self.context(statistics(frames, uniform))
        scores = self.attend(torch.tanh(self.local(frames) + context.unsqueeze(1))).float()
        if mask is not None:
            scores = scores.masked_fill(mask == 0, float("-inf"))
        return statistics(frames, torch.softmax(scores, dim=1))


def statistics(frames: Tensor, weights: Tensor | None) -> Tensor:
    """Mean and standard deviation over time, in float32: [B, T, C] to [B, 2 C].

    Args:
        frames: [B, T, C].
        weights: [B, T, C or 1], of sum 1 over time; None weighs all frames alike.
    """
    frames = frames.float()
    if weights is None:
        mean = frames.mean(dim=1)
        # The norm is the sum of squares without a tensor of squares.
        variance = torch.linalg.vector_norm(frames, dim=1).square() / frames.shape[1] - mean.square()
    else:
        weighted = weights.float() * frames
        mean = weighted.sum(dim=1)
        variance = (weighted * frames).sum(dim=1) - mean.square()
    return torch.cat([mean, variance.clamp(min=SMALLEST_VARIANCE).sqrt()], dim=1)


def masked(frames: Tensor, mask: Tensor | None) -> Tensor:
    """`frames` with padding set to zero; without a mask there is no padding."""
    return frames if mask is None else frames * mask.to(frames.dtype)


class EcapaTdnn(nn.Module):
    """Log-mel features to a speaker embedding.

    Args:
        settings: channels, dilations and the other sizes of Table III.
        mel_bins: features per frame.
    """

    def __init__(self, settings: EncoderSettings, mel_bins: int):
        super().__init__()
        channels = settings.channels
        self.title = f"ECAPA-TDNN of {channels} channels"
        self.enter = TdnnLayer(mel_bins, channels, kernel=5)
        self.blocks = nn.ModuleList(SeRes2Block(channels, dilation, settings.bottleneck) for dilation in settings.dilations)
        self.aggregate = TimeDelay(len(settings.dilations) * channels, settings.mfa_channels)
        self.pool = AttentiveStatisticsPooling(settings.mfa_channels, settings.bottleneck)
        self.pool_norm = nn.BatchNorm1d(2 * settings.mfa_channels)
        self.embed = nn.Linear(2 * settings.mfa_channels, settings.embedding)
        self.embed_norm = nn.BatchNorm1d(settings.embedding) if settings.embedding_batchnorm else nn.Identity()

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embeddings of a batch of utterances.

        Args:
            features: [B, T, mel_bins].
            lengths: [B] true numbers of frames where utterances were padded to T; None where all are T long.

        Returns:
            [B, embedding], float32, not normalised in length.
        """
        mask = None if lengths is None else frame_mask(lengths, features)
        frames = self.enter(masked(features, mask), mask)
        outputs = []
        for block in self.blocks:
            frames = block(frames, mask)
            outputs.append(frames)
        pooled = self.pooled(torch.cat(outputs, dim=2), mask)
        return self.embed_norm(self.embed(self.pool_norm(pooled))).float()

    def pooled(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """The outputs of all blocks, [B, T, blocks * channels], to statistics, [B, 2 mfa_channels]."""
        return self.pool(masked(F.relu(self.aggregate(frames)), mask), mask)


def frame_mask(lengths: Tensor, features: Tensor) -> Tensor:
    """[B, T, 1] ones where `features` ([B, T, F]) holds speech, zeros where it holds padding."""
    positions = torch.arange(features.shape[1], device=features.device)
    return (positions < lengths.unsqueeze(1)).unsqueeze(2).to(features.dtype)
