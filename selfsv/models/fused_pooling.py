"""Attentive statistics pooling of a training step in few passes over memory, as Triton kernels for GPUs.

The frames that are pooled are the widest tensor of ECAPA-TDNN. torch's own operations make float32 copies of them, of their squares
and of their weights, each forth and back, which is a third of the time of a step on a GPU. Here a program keeps the sums of its
channels while it walks over an utterance once.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

FRAMES, COLUMNS = 16, 64  # of a tile
UNCLAMPED = 1 + 1e-5  # in units of the smallest variance: above it, rounding aside, the variance is not the smallest one

kernel = triton.jit(do_not_specialize=["length"])  # nothing is compiled anew for another one


def rectified_statistics(frames: Tensor, bias: Tensor, smallest: float) -> tuple[Tensor, Tensor]:
    """relu(frames + bias), and its mean and standard deviation over time: [B, T, C] and [B, 2 C] float32.

    Args:
        frames: [B, T, C].
        bias: [C].
        smallest: variance.
    """
    return _RectifiedStatistics.apply(frames.contiguous(), bias, smallest)


def attentive_statistics(scores: Tensor, frames: Tensor, smallest: float) -> Tensor:
    """Mean and standard deviation over time under the softmax of the scores: [B, T, C] of both to [B, 2 C] float32.

    Args:
        smallest: variance.
    """
    return _AttentiveStatistics.apply(scores.contiguous(), frames.contiguous(), smallest)


def pooled_by_attention(
    frames: Tensor, bias: Tensor, attend: Callable[[Tensor, Tensor], Tensor], smallest: float, mask: Tensor | None
) -> Tensor:
    """`attentive_statistics` of relu(frames + bias), [B, 2 C] float32, without gradients.

    Args:
        frames: [B, T, C].
        attend: takes the rectified frames and their statistics, [B, 2 C], and gives scores [B, T, C].
        smallest: variance.
        mask: [B, T, 1] float32, ones where there is speech; all of it comes first.
    """
    frames, (batch, length, columns) = frames.contiguous(), frames.shape
    rectified, statistics = torch.empty_like(frames), frames.new_empty(batch, 2 * columns, dtype=torch.float32)
    lengths = bias if mask is None else mask.sum(dim=(1, 2)).to(torch.int32)
    sizes = length, columns, smallest, mask is not None, FRAMES, COLUMNS
    _rectified[_grid(frames)](frames, bias, rectified, statistics, lengths, *sizes)
    scores = attend(rectified, statistics).contiguous()
    pooled, normaliser = torch.empty_like(statistics), torch.empty_like(statistics)
    _attended[_grid(frames)](scores, rectified, pooled, normaliser, lengths, *sizes)
    return pooled


def _grid(frames: Tensor) -> tuple[int, int]:
    return len(frames), triton.cdiv(frames.shape[2], COLUMNS)


class _RectifiedStatistics(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, frames: Tensor, bias: Tensor, smallest: float) -> tuple[Tensor, Tensor]:
        batch, length, columns = frames.shape
        outputs, statistics = torch.empty_like(frames), frames.new_empty(batch, 2 * columns, dtype=torch.float32)
        _rectified[_grid(frames)](frames, bias, outputs, statistics, bias, length, columns, smallest, False, FRAMES, COLUMNS)
        context.save_for_backward(outputs, statistics)
        context.smallest = smallest
        return outputs, statistics

    @staticmethod
    @once_differentiable
    def backward(context: Any, upstream: Tensor, of_statistics: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        outputs, statistics = context.saved_tensors
        batch, length, columns = outputs.shape
        gradient, of_bias = torch.empty_like(outputs), statistics.new_empty(batch, columns)
        _rectified_back[_grid(outputs)](
            outputs, statistics, upstream.contiguous(), of_statistics.contiguous(), gradient, of_bias,
            length, columns, context.smallest * UNCLAMPED, FRAMES, COLUMNS,
        )  # fmt: skip
        return gradient, of_bias.sum(dim=0), None


class _AttentiveStatistics(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, scores: Tensor, frames: Tensor, smallest: float) -> Tensor:
        batch, length, columns = frames.shape
        statistics, normaliser = (frames.new_empty(batch, 2 * columns, dtype=torch.float32) for _ in range(2))
        _attended[_grid(frames)](scores, frames, statistics, normaliser, frames, length, columns, smallest, False, FRAMES, COLUMNS)
        context.save_for_backward(scores, frames, statistics, normaliser)
        context.smallest = smallest
        return statistics

    @staticmethod
    @once_differentiable
    def backward(context: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        scores, frames, statistics, normaliser = context.saved_tensors
        of_scores, of_frames = torch.empty_like(scores), torch.empty_like(frames)
        _attended_back[_grid(frames)](
            scores, frames, statistics, normaliser, upstream.contiguous(), of_scores, of_frames,
            frames.shape[1], frames.shape[2], context.smallest * UNCLAMPED, FRAMES, COLUMNS,
        )  # fmt: skip
        return of_scores, of_frames, None


@kernel
def _rectified(
    frames, bias, outputs, statistics, lengths, length, columns, smallest,
    padded: tl.constexpr, tile_frames: tl.constexpr, tile_columns: tl.constexpr,
):  # fmt: skip
    """relu(frames + bias) and its statistics."""
    utterance = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
    inside = column < columns
    offset = tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    total = tl.zeros([tile_frames, tile_columns], tl.float32)
    square = tl.zeros([tile_frames, tile_columns], tl.float32)
    end = tl.load(lengths + utterance) if padded else length
    for start in range(0, length, tile_frames):
        frame = start + tl.arange(0, tile_frames)
        here = (frame < length)[:, None] & inside[None, :]
        place = (utterance * length + frame[:, None]) * columns + column[None, :]
        values = tl.load(frames + place, mask=here, other=0.0).to(tl.float32)
        kept = tl.where((frame < end)[:, None], tl.maximum(values + offset[None, :], 0.0), 0.0).to(outputs.dtype.element_ty)
        tl.store(outputs + place, kept, mask=here)
        values = tl.where(here, kept.to(tl.float32), 0.0)  # as those see it that read the outputs
        total += values
        square += values * values
    mean = tl.sum(total, axis=0) / end
    variance = tl.maximum(tl.sum(square, axis=0) / end - mean * mean, smallest)
    channel = statistics + utterance * 2 * columns + column
    tl.store(channel, mean, mask=inside)
    tl.store(channel + columns, tl.sqrt(variance), mask=inside)


@kernel
def _rectified_back(
    outputs, statistics, upstream, of_statistics, gradient, of_bias, length, columns, clamped,
    tile_frames: tl.constexpr, tile_columns: tl.constexpr,
):  # fmt: skip
    """The gradient of the frames, and its sum over each utterance."""
    utterance = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
    inside = column < columns
    channel = utterance * 2 * columns + column
    mean = tl.load(statistics + channel, mask=inside, other=0.0)
    deviation = tl.load(statistics + channel + columns, mask=inside, other=1.0)
    along = tl.load(of_statistics + channel, mask=inside, other=0.0) / length
    slope = tl.load(of_statistics + channel + columns, mask=inside, other=0.0) / (length * deviation)
    slope = tl.where(deviation * deviation > clamped, slope, 0.0)
    total = tl.zeros([tile_frames, tile_columns], tl.float32)
    for start in range(0, length, tile_frames):
        frame = start + tl.arange(0, tile_frames)
        here = (frame < length)[:, None] & inside[None, :]
        place = (utterance * length + frame[:, None]) * columns + column[None, :]
        values = tl.load(outputs + place, mask=here, other=0.0).to(tl.float32)
        back = tl.load(upstream + place, mask=here, other=0.0).to(tl.float32)
        back += along[None, :] + slope[None, :] * (values - mean[None, :])
        back = tl.where(here & (values > 0.0), back, 0.0)
        total += back
        tl.store(gradient + place, back.to(gradient.dtype.element_ty), mask=here)
    tl.store(of_bias + utterance * columns + column, tl.sum(total, axis=0), mask=inside)


@kernel
def _attended(
    scores, frames, statistics, normaliser, lengths, length, columns, smallest,
    padded: tl.constexpr, tile_frames: tl.constexpr, tile_columns: tl.constexpr,
):  # fmt: skip
    """Statistics under the softmax of the scores; its greatest score and its sum, which the way back needs.

    Every channel of the tile has a softmax of its own, of the frames that it meets; they are merged at the end.
    """
    utterance = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
    inside = column < columns
    greatest = tl.full([tile_frames, tile_columns], float("-inf"), tl.float32)
    weights = tl.zeros([tile_frames, tile_columns], tl.float32)
    total = tl.zeros([tile_frames, tile_columns], tl.float32)
    square = tl.zeros([tile_frames, tile_columns], tl.float32)
    end = tl.load(lengths + utterance) if padded else length
    for start in range(0, end, tile_frames):
        frame = start + tl.arange(0, tile_frames)
        here = (frame < end)[:, None] & inside[None, :]
        place = (utterance * length + frame[:, None]) * columns + column[None, :]
        score = tl.load(scores + place, mask=here, other=float("-inf")).to(tl.float32)
        values = tl.load(frames + place, mask=here, other=0.0).to(tl.float32)
        higher = tl.maximum(greatest, score)
        kept = tl.where(higher > greatest, tl.exp(greatest - higher), 1.0)  # not -inf - -inf
        weight = tl.where(here, tl.exp(score - higher), 0.0)
        greatest = higher
        weights = weights * kept + weight
        total = total * kept + weight * values
        square = square * kept + weight * values * values
    highest = tl.max(greatest, axis=0)
    share = tl.where(weights > 0.0, tl.exp(greatest - highest[None, :]), 0.0)
    whole = tl.sum(weights * share, axis=0)
    mean = tl.sum(total * share, axis=0) / whole
    variance = tl.maximum(tl.sum(square * share, axis=0) / whole - mean * mean, smallest)
    channel = utterance * 2 * columns + column
    tl.store(statistics + channel, mean, mask=inside)
    tl.store(statistics + channel + columns, tl.sqrt(variance), mask=inside)
    tl.store(normaliser + channel, highest, mask=inside)
    tl.store(normaliser + channel + columns, whole, mask=inside)


@kernel
def _attended_back(
    scores, frames, statistics, normaliser, upstream, of_scores, of_frames, length, columns, clamped,
    tile_frames: tl.constexpr, tile_columns: tl.constexpr,
):  # fmt: skip
    """Gradients of scores and frames. What the softmax subtracts, a mean over time, follows from the statistics themselves."""
    utterance = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
    inside = column < columns
    channel = utterance * 2 * columns + column
    mean = tl.load(statistics + channel, mask=inside, other=0.0)
    deviation = tl.load(statistics + channel + columns, mask=inside, other=1.0)
    highest = tl.load(normaliser + channel, mask=inside, other=0.0)
    whole = tl.load(normaliser + channel + columns, mask=inside, other=1.0)
    of_variance = tl.load(upstream + channel + columns, mask=inside, other=0.0) / (2.0 * deviation)
    of_variance = tl.where(deviation * deviation > clamped, of_variance, 0.0)
    of_mean = tl.load(upstream + channel, mask=inside, other=0.0) - 2.0 * mean * of_variance
    middle = of_mean * mean + of_variance * (deviation * deviation + mean * mean)
    for start in range(0, length, tile_frames):
        frame = start + tl.arange(0, tile_frames)
        here = (frame < length)[:, None] & inside[None, :]
        place = (utterance * length + frame[:, None]) * columns + column[None, :]
        score = tl.load(scores + place, mask=here, other=float("-inf")).to(tl.float32)
        values = tl.load(frames + place, mask=here, other=0.0).to(tl.float32)
        weight = tl.exp(score - highest[None, :]) / whole[None, :]
        back = weight * (of_mean[None, :] * values + of_variance[None, :] * values * values - middle[None, :])
        tl.store(of_scores + place, back.to(of_scores.dtype.element_ty), mask=here)
        back = weight * (of_mean[None, :] + 2.0 * of_variance[None, :] * values)
        tl.store(of_frames + place, back.to(of_frames.dtype.element_ty), mask=here)
