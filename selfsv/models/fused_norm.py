"""Bias, ReLU and BatchNorm in few passes over memory, as Triton kernels for GPUs.

torch's own layers read and write the frames once for each of the three, and again for each of their gradients: on a GPU that is
a third of the time of a step of ECAPA-TDNN. Here the frames are read twice and written once on the way forth, and read twice and
written once on the way back. Sums are in float32, whatever the type of the frames.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from selfsv.torch_internals import BatchNorm

TILE, COLUMNS = 2048, 64  # values of a tile, and the most of its columns
PROGRAMS = 1056  # that walk over the rows together: several for each multiprocessor of a large GPU
MERGED, NARROW = 256, 16  # of a tile of the programs' partial results

# Numbers of rows change from batch to batch: nothing is compiled anew for them.
kernel = triton.jit(do_not_specialize=["rows", "each", "programs"])


def relu_norm(frames: Tensor, bias: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    """BatchNorm of relu(frames + bias) by the statistics of the batch; the running ones follow, as in `norm` itself.

    Args:
        frames: [..., C].
        bias: [C].
    """
    rows = frames.reshape(-1, frames.shape[-1])
    return _ReluNorm.apply(rows.contiguous(), bias, norm.weight, norm.bias, norm).view(frames.shape)


def relu_norm_by_running(frames: Tensor, bias: Tensor, norm: nn.BatchNorm1d, mask: Tensor | None) -> Tensor:
    """BatchNorm of relu(frames + bias) by its running statistics, without gradients, zero where the mask is.

    Args:
        frames: [B, T, C].
        bias: [C].
        mask: [B, T, 1] float32.
    """
    rows = frames.reshape(-1, frames.shape[-1]).contiguous()
    walk, outputs = Walk(rows), torch.empty_like(rows)
    running = norm.running_mean, norm.running_var, norm.weight, norm.bias
    masks = rows if mask is None else mask.contiguous()
    _evaluated[walk.grid](rows, bias, *running, masks, outputs, *walk.sizes, norm.eps, mask is not None, True, *walk.tile)
    return outputs.view(frames.shape)


def image_norm(images: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """BatchNorm of [B, C, H, W], with channels last in memory, by the statistics of the batch; the running ones of `norm` follow."""
    return _ImageNorm.apply(images, norm.weight, norm.bias, norm)


def rows_of(images: Tensor) -> Tensor:
    """[B, C, H, W] to [N, C], a view where channels are last in memory."""
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])


class _ImageNorm(torch.autograd.Function):
    """Its output is no view, as what follows may change it in place."""

    @staticmethod
    def forward(context: Any, images: Tensor, weight: Tensor, shift: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        rows, outputs = rows_of(images), torch.empty_like(images)
        statistics = statistics_of(rows, None, norm)
        normalise(rows, None, statistics, norm, rows_of(outputs))
        context.save_for_backward(rows, weight, statistics)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(context: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        rows, weight, statistics = context.saved_tensors
        gradient, _, of_weight, of_shift = gradients(rows, None, weight, statistics, rows_of(upstream).contiguous())
        batch, channels, height, width = upstream.shape
        return gradient.view(batch, height, width, channels).permute(0, 3, 1, 2), of_weight, of_shift, None


class _ReluNorm(torch.autograd.Function):
    """Takes [N, C] frames."""

    @staticmethod
    def forward(context: Any, frames: Tensor, bias: Tensor, weight: Tensor, shift: Tensor, norm: nn.BatchNorm1d) -> Tensor:
        statistics = statistics_of(frames, bias, norm)
        outputs = torch.empty_like(frames)
        normalise(frames, bias, statistics, norm, outputs)
        context.save_for_backward(frames, bias, weight, statistics)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(context: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        frames, bias, weight, statistics = context.saved_tensors
        return *gradients(frames, bias, weight, statistics, upstream if upstream.stride(1) == 1 else upstream.contiguous()), None


def statistics_of(frames: Tensor, bias: Tensor | None, norm: BatchNorm) -> Tensor:
    """Mean and inverse deviation of relu(frames + bias), [2, C] float32; the running ones of `norm` follow.

    Args:
        frames: [N, C].
        bias: [C]; None: of the frames themselves, also in the functions below.
    """
    walk = Walk(frames)
    partial_means, partial_squares = frames.new_empty(2, walk.programs, walk.columns, dtype=torch.float32)
    _moments[walk.grid](frames, frames if bias is None else bias, partial_means, partial_squares, *walk.sizes, bias is not None, *walk.tile)
    statistics = frames.new_empty(2, walk.columns, dtype=torch.float32)
    assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
    running = norm.running_mean, norm.running_var, norm.num_batches_tracked
    _statistics[triton.cdiv(walk.columns, NARROW),](
        partial_means, partial_squares, statistics, *running, *walk.sizes, walk.programs, norm.eps, norm.momentum, MERGED, NARROW
    )
    return statistics


def normalise(
    frames: Tensor, bias: Tensor | None, statistics: Tensor, norm: BatchNorm, outputs: Tensor, beside: Tensor | None = None
) -> Tensor | None:
    """BatchNorm of relu(frames + bias) into `outputs`, and its sum with `beside`.

    Args:
        frames: [N, C].
        statistics: of `statistics_of`.
        outputs, beside: [N, C], each may be a part of a wider tensor.
    """
    walk = Walk(frames)
    summed = None if beside is None else torch.empty_like(frames)
    other, total = (frames, frames) if beside is None or summed is None else (beside, summed)
    strides = outputs.stride(0), other.stride(0)
    _normalise[walk.grid](
        frames,
        frames if bias is None else bias,
        statistics,
        norm.weight,
        norm.bias,
        outputs,
        other,
        total,
        *walk.sizes,
        *strides,
        beside is not None,
        bias is not None,
        *walk.tile,
    )
    return summed


def gradients(
    frames: Tensor, bias: Tensor | None, weight: Tensor, statistics: Tensor, upstream: Tensor, carried: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Those of the frames, the bias, and BatchNorm's weight and bias, by that of the output: `upstream`, and `carried` if there is one.

    Args:
        frames: [N, C].
        upstream: [N, C], may be a part of a wider tensor.
        carried: [N, C].
    """
    walk = Walk(frames)
    how = upstream.stride(0), carried is not None, bias is not None, *walk.tile
    known = frames, frames if bias is None else bias, statistics, upstream, frames if carried is None else carried
    partial = frames.new_empty(walk.programs, 2, walk.columns, dtype=torch.float32)
    _sums[walk.grid](*known, partial, *walk.sizes, *how)
    sums = added(partial.view(walk.programs, -1)).view(2, -1)
    gradient, partial = torch.empty_like(frames), frames.new_empty(walk.programs, walk.columns, dtype=torch.float32)
    _gradient[walk.grid](*known, weight, sums, gradient, partial, *walk.sizes, *how)
    return gradient, added(partial), sums[1], sums[0]


def added(partial: Tensor) -> Tensor:
    """[P, C] float32, the programs' results, to their sums [C]."""
    programs, columns = partial.shape
    sums = partial.new_empty(columns)
    _added[triton.cdiv(columns, NARROW),](partial, sums, columns, programs, MERGED, NARROW)
    return sums


class Walk:
    """How programs share the rows of [N, C] frames: each walks over neighbouring ones."""

    def __init__(self, frames: Tensor):
        rows, self.columns = frames.shape
        wide = min(COLUMNS, triton.next_power_of_2(self.columns))
        self.tile = TILE // wide, wide
        groups = triton.cdiv(self.columns, wide)
        each = self.tile[0] * triton.cdiv(rows, self.tile[0] * max(1, PROGRAMS // groups))
        self.programs = triton.cdiv(rows, each)
        self.grid = self.programs, groups
        self.sizes = rows, self.columns, each


@triton.jit
def _rectified_tile(frames, bias, row, column, here, columns, rectifies: tl.constexpr):
    """A tile of relu(frames + bias), or of the frames themselves; zero outside."""
    values = tl.load(frames + row[:, None].to(tl.int64) * columns + column[None, :], mask=here, other=0.0).to(tl.float32)
    if rectifies:
        offset = tl.load(bias + column, mask=column < columns, other=0.0).to(tl.float32)
        values = tl.where(here, tl.maximum(values + offset[None, :], 0.0), 0.0)
    return values


@kernel
def _moments(
    frames, bias, means, squares, rows, columns, each,
    rectifies: tl.constexpr, tile_rows: tl.constexpr, tile_columns: tl.constexpr,
):  # fmt: skip
    """Mean and sum of squared deviations of each program's rows."""
    first = tl.program_id(0) * each
    column = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
    last = tl.minimum(first + each, rows)
    inside = column < columns
    # Deviations from the first row's values, not from 0: where the mean is large beside them, squares would lose them.
    pivot = tl.load(frames + first.to(tl.int64) * columns + column, mask=inside, other=0.0).to(tl.float32)
    if rectifies:
        pivot = tl.maximum(pivot + tl.load(bias + column, mask=inside, other=0.0).to(tl.float32), 0.0)
    total = tl.zeros([tile_rows, tile_columns], tl.float32)
    square = tl.zeros([tile_rows, tile_columns], tl.float32)
    for start in range(first, last, tile_rows):
        row = start + tl.arange(0, tile_rows)
        here = (row < last)[:, None] & inside[None, :]
        apart = tl.where(here, _rectified_tile(frames, bias, row, column, here, columns, rectifies) - pivot[None, :], 0.0)
        total += apart
        square += apart * apart
    count = (last - first).to(tl.float32)
    shift = tl.sum(total, axis=0) / count
    place = tl.program_id(0) * columns + column
    tl.store(means + place, pivot + shift, mask=inside)
    tl.store(squares + place, tl.sum(square, axis=0) - count * shift * shift, mask=inside)


@kernel
def _statistics(
    means, squares, statistics, running_mean, running_variance, tracked, rows, columns, each, programs, epsilon, momentum,
    merged: tl.constexpr, tile_columns: tl.constexpr,
):  # fmt: skip
    """Mean and inverse deviation of all rows from those of the programs; the running statistics."""
    column = tl.program_id(0) * tile_columns + tl.arange(0, tile_columns)
    inside = column < columns
    total = tl.zeros([merged, tile_columns], tl.float32)
    for start in range(0, programs, merged):
        program = start + tl.arange(0, merged)
        here = (program < programs)[:, None] & inside[None, :]
        count = tl.minimum(each, rows - program * each).to(tl.float32)
        part = tl.load(means + program[:, None] * columns + column[None, :], mask=here, other=0.0)
        total += part * count[:, None]
    whole = tl.sum(total, axis=0) / rows
    total = tl.zeros([merged, tile_columns], tl.float32)
    for start in range(0, programs, merged):
        program = start + tl.arange(0, merged)
        here = (program < programs)[:, None] & inside[None, :]
        count = tl.minimum(each, rows - program * each).to(tl.float32)
        place = program[:, None] * columns + column[None, :]
        apart = tl.load(means + place, mask=here, other=0.0) - whole[None, :]
        part = tl.load(squares + place, mask=here, other=0.0) + count[:, None] * apart * apart
        total += tl.where(here, part, 0.0)
    variance = tl.sum(total, axis=0) / rows
    tl.store(statistics + column, whole, mask=inside)
    tl.store(statistics + columns + column, 1.0 / tl.sqrt(variance + epsilon), mask=inside)
    before = tl.load(running_mean + column, mask=inside, other=0.0)
    tl.store(running_mean + column, before + momentum * (whole - before), mask=inside)
    before = tl.load(running_variance + column, mask=inside, other=0.0)
    unbiased = variance * (rows / (rows - 1.0))
    tl.store(running_variance + column, before + momentum * (unbiased - before), mask=inside)
    if tl.program_id(0) == 0:
        tl.store(tracked, tl.load(tracked) + 1)


@kernel
def _added(partial, sums, columns, programs, merged: tl.constexpr, tile_columns: tl.constexpr):
    """The sums of all programs' results."""
    column = tl.program_id(0) * tile_columns + tl.arange(0, tile_columns)
    inside = column < columns
    total = tl.zeros([merged, tile_columns], tl.float32)
    for start in range(0, programs, merged):
        program = start + tl.arange(0, merged)
        here = (program < programs)[:, None] & inside[None, :]
        total += tl.load(partial + program[:, None] * columns + column[None, :], mask=here, other=0.0)
    tl.store(sums + column, tl.sum(total, axis=0), mask=inside)


@kernel
def _normalise(
    frames, bias, statistics, weight, shift, outputs, beside, summed, rows, columns, each, stride, beside_stride,
    adds: tl.constexpr, rectifies: tl.constexpr, tile_rows: tl.constexpr, tile_columns: tl.constexpr,
):  # fmt: skip
    """The layer's output, and its sum with other frames."""
    first = tl.program_id(0) * each
    column = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
    last = tl.minimum(first + each, rows)
    inside = column < columns
    gain = tl.load(weight + column, mask=inside, other=0.0) * tl.load(statistics + columns + column, mask=inside, other=0.0)
    offset = tl.load(shift + column, mask=inside, other=0.0) - gain * tl.load(statistics + column, mask=inside, other=0.0)
    for start in range(first, last, tile_rows):
        row = start + tl.arange(0, tile_rows)
        here = (row < last)[:, None] & inside[None, :]
        values = _rectified_tile(frames, bias, row, column, here, columns, rectifies) * gain[None, :] + offset[None, :]
        wide = row[:, None].to(tl.int64)
        tl.store(outputs + wide * stride + column[None, :], values.to(outputs.dtype.element_ty), mask=here)
        if adds:
            values += tl.load(beside + wide * beside_stride + column[None, :], mask=here, other=0.0).to(tl.float32)
            tl.store(summed + wide * columns + column[None, :], values.to(summed.dtype.element_ty), mask=here)


@kernel
def _evaluated(
    frames, bias, mean, variance, weight, shift, masks, outputs, rows, columns, each, epsilon,
    masked: tl.constexpr, rectifies: tl.constexpr, tile_rows: tl.constexpr, tile_columns: tl.constexpr,
):  # fmt: skip
    """The layer's output by its running statistics, times each row's mask."""
    first = tl.program_id(0) * each
    column = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
    last = tl.minimum(first + each, rows)
    inside = column < columns
    gain = tl.load(weight + column, mask=inside, other=0.0) / tl.sqrt(tl.load(variance + column, mask=inside, other=1.0) + epsilon)
    offset = tl.load(shift + column, mask=inside, other=0.0) - gain * tl.load(mean + column, mask=inside, other=0.0)
    for start in range(first, last, tile_rows):
        row = start + tl.arange(0, tile_rows)
        here = (row < last)[:, None] & inside[None, :]
        values = _rectified_tile(frames, bias, row, column, here, columns, rectifies) * gain[None, :] + offset[None, :]
        if masked:
            values *= tl.load(masks + row, mask=row < last, other=0.0).to(tl.float32)[:, None]
        tl.store(outputs + row[:, None].to(tl.int64) * columns + column[None, :], values.to(outputs.dtype.element_ty), mask=here)


@triton.jit
def _upstream_tile(upstream, carried, row, column, here, columns, stride, twice: tl.constexpr):
    """A tile of the gradient of the output."""
    wide = row[:, None].to(tl.int64)
    above = tl.load(upstream + wide * stride + column[None, :], mask=here, other=0.0).to(tl.float32)
    if twice:
        above += tl.load(carried + wide * columns + column[None, :], mask=here, other=0.0).to(tl.float32)
    return above


@kernel
def _sums(
    frames, bias, statistics, upstream, carried, partial, rows, columns, each, stride,
    twice: tl.constexpr, rectifies: tl.constexpr, tile_rows: tl.constexpr, tile_columns: tl.constexpr,
):  # fmt: skip
    """Each program's sums of the upstream gradient, and of its product with the normalised frames."""
    first = tl.program_id(0) * each
    column = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
    last = tl.minimum(first + each, rows)
    inside = column < columns
    centre = tl.load(statistics + column, mask=inside, other=0.0)
    scale = tl.load(statistics + columns + column, mask=inside, other=0.0)
    total = tl.zeros([tile_rows, tile_columns], tl.float32)
    product = tl.zeros([tile_rows, tile_columns], tl.float32)
    for start in range(first, last, tile_rows):
        row = start + tl.arange(0, tile_rows)
        here = (row < last)[:, None] & inside[None, :]
        above = _upstream_tile(upstream, carried, row, column, here, columns, stride, twice)
        normal = (_rectified_tile(frames, bias, row, column, here, columns, rectifies) - centre[None, :]) * scale[None, :]
        total += above
        product += above * normal
    place = partial + tl.program_id(0) * 2 * columns + column
    tl.store(place, tl.sum(total, axis=0), mask=inside)
    tl.store(place + columns, tl.sum(product, axis=0), mask=inside)


@kernel
def _gradient(
    frames, bias, statistics, upstream, carried, weight, sums, gradient, partial, rows, columns, each, stride,
    twice: tl.constexpr, rectifies: tl.constexpr, tile_rows: tl.constexpr, tile_columns: tl.constexpr,
):  # fmt: skip
    """The gradient of the frames, and each program's sum of it: that of the bias."""
    first = tl.program_id(0) * each
    column = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
    last = tl.minimum(first + each, rows)
    inside = column < columns
    centre = tl.load(statistics + column, mask=inside, other=0.0)
    scale = tl.load(statistics + columns + column, mask=inside, other=0.0)
    gain = tl.load(weight + column, mask=inside, other=0.0) * scale
    along = tl.load(sums + column, mask=inside, other=0.0) / rows
    slope = tl.load(sums + columns + column, mask=inside, other=0.0) / rows
    total = tl.zeros([tile_rows, tile_columns], tl.float32)
    for start in range(first, last, tile_rows):
        row = start + tl.arange(0, tile_rows)
        here = (row < last)[:, None] & inside[None, :]
        above = _upstream_tile(upstream, carried, row, column, here, columns, stride, twice)
        values = _rectified_tile(frames, bias, row, column, here, columns, rectifies)
        normal = (values - centre[None, :]) * scale[None, :]
        back = gain[None, :] * (above - along[None, :] - normal * slope[None, :])
        if rectifies:
            back = tl.where(here & (values > 0.0), back, 0.0)
        total += back
        place = row[:, None].to(tl.int64) * columns + column[None, :]
        tl.store(gradient + place, back.to(gradient.dtype.element_ty), mask=here)
    tl.store(partial + tl.program_id(0) * columns + column, tl.sum(total, axis=0), mask=inside)
