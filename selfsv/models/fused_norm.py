"""Bias, ReLU and BatchNorm of a training step in few passes over memory, as Triton kernels for GPUs.

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

ROWS, COLUMNS = 32, 64  # of a tile
PROGRAMS = 1056  # that walk over the rows together: several for each multiprocessor of a large GPU
MERGED = 64  # partial results that are merged at a time

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


class _ReluNorm(torch.autograd.Function):
    """Takes [N, C] frames."""

    @staticmethod
    def forward(context: Any, frames: Tensor, bias: Tensor, weight: Tensor, shift: Tensor, norm: nn.BatchNorm1d) -> Tensor:
        walk = Walk(frames)
        partial_means, partial_squares = frames.new_empty(2, walk.programs, walk.columns, dtype=torch.float32)
        _moments[walk.grid](frames, bias, partial_means, partial_squares, *walk.sizes, ROWS, COLUMNS)
        mean, inverse = frames.new_empty(2, walk.columns, dtype=torch.float32)
        assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
        running = norm.running_mean, norm.running_var, norm.num_batches_tracked
        _statistics[walk.grid[1:]](
            partial_means, partial_squares, mean, inverse, *running, *walk.sizes, walk.programs, norm.eps, norm.momentum, MERGED, COLUMNS
        )
        outputs = torch.empty_like(frames)
        _normalise[walk.grid](frames, bias, mean, inverse, weight, shift, outputs, *walk.sizes, ROWS, COLUMNS)
        context.save_for_backward(frames, bias, weight, mean, inverse)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(context: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        frames, bias, weight, mean, inverse = context.saved_tensors
        walk = Walk(frames)
        if upstream.stride(1) != 1:
            upstream = upstream.contiguous()
        known = frames, bias, mean, inverse, upstream
        partial = frames.new_empty(walk.programs, 2, walk.columns, dtype=torch.float32)
        _sums[walk.grid](*known, partial, *walk.sizes, upstream.stride(0), ROWS, COLUMNS)
        sums = partial.sum(dim=0)
        gradient, partial_bias = torch.empty_like(frames), partial[:, 0]
        _gradient[walk.grid](
            *known, weight, sums, gradient, partial_bias, *walk.sizes, upstream.stride(0), partial.stride(0), ROWS, COLUMNS
        )
        return gradient, partial_bias.sum(dim=0), sums[1], sums[0], None


class Walk:
    """How programs share the rows of [N, C] frames: each walks over neighbouring ones."""

    def __init__(self, frames: Tensor):
        rows, self.columns = frames.shape
        groups = triton.cdiv(self.columns, COLUMNS)
        each = ROWS * triton.cdiv(rows, ROWS * max(1, PROGRAMS // groups))
        self.programs = triton.cdiv(rows, each)
        self.grid = self.programs, groups
        self.sizes = rows, self.columns, each


@triton.jit
def _rectified_tile(frames, bias, row, column, here, columns):
    """A tile of relu(frames + bias), zero outside."""
    values = tl.load(frames + row[:, None].to(tl.int64) * columns + column[None, :], mask=here, other=0.0).to(tl.float32)
    offset = tl.load(bias + column, mask=column < columns, other=0.0).to(tl.float32)
    return tl.where(here, tl.maximum(values + offset[None, :], 0.0), 0.0)


@kernel
def _moments(frames, bias, means, squares, rows, columns, each, tile_rows: tl.constexpr, tile_columns: tl.constexpr):
    """Mean and sum of squared deviations of each program's rows."""
    first = tl.program_id(0) * each
    column = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
    last = tl.minimum(first + each, rows)
    inside = column < columns
    # Deviations from the first row's values, not from 0: where the mean is large beside them, squares would lose them.
    offset = tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    pivot = tl.load(frames + first.to(tl.int64) * columns + column, mask=inside, other=0.0).to(tl.float32)
    pivot = tl.maximum(pivot + offset, 0.0)
    total = tl.zeros([tile_rows, tile_columns], tl.float32)
    square = tl.zeros([tile_rows, tile_columns], tl.float32)
    for start in range(first, last, tile_rows):
        row = start + tl.arange(0, tile_rows)
        here = (row < last)[:, None] & inside[None, :]
        apart = tl.where(here, _rectified_tile(frames, bias, row, column, here, columns) - pivot[None, :], 0.0)
        total += apart
        square += apart * apart
    count = (last - first).to(tl.float32)
    shift = tl.sum(total, axis=0) / count
    place = tl.program_id(0) * columns + column
    tl.store(means + place, pivot + shift, mask=inside)
    tl.store(squares + place, tl.sum(square, axis=0) - count * shift * shift, mask=inside)


@kernel
def _statistics(
    means, squares, mean, inverse, running_mean, running_variance, tracked, rows, columns, each, programs, epsilon, momentum,
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
    tl.store(mean + column, whole, mask=inside)
    tl.store(inverse + column, 1.0 / tl.sqrt(variance + epsilon), mask=inside)
    before = tl.load(running_mean + column, mask=inside, other=0.0)
    tl.store(running_mean + column, before + momentum * (whole - before), mask=inside)
    before = tl.load(running_variance + column, mask=inside, other=0.0)
    unbiased = variance * (rows / (rows - 1.0))
    tl.store(running_variance + column, before + momentum * (unbiased - before), mask=inside)
    if tl.program_id(0) == 0:
        tl.store(tracked, tl.load(tracked) + 1)


@kernel
def _normalise(
    frames, bias, mean, inverse, weight, shift, outputs, rows, columns, each, tile_rows: tl.constexpr, tile_columns: tl.constexpr
):  # fmt: skip
    """The layer's output."""
    first = tl.program_id(0) * each
    column = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
    last = tl.minimum(first + each, rows)
    inside = column < columns
    gain = tl.load(weight + column, mask=inside, other=0.0) * tl.load(inverse + column, mask=inside, other=0.0)
    offset = tl.load(shift + column, mask=inside, other=0.0) - gain * tl.load(mean + column, mask=inside, other=0.0)
    for start in range(first, last, tile_rows):
        row = start + tl.arange(0, tile_rows)
        here = (row < last)[:, None] & inside[None, :]
        values = _rectified_tile(frames, bias, row, column, here, columns) * gain[None, :] + offset[None, :]
        place = row[:, None].to(tl.int64) * columns + column[None, :]
        tl.store(outputs + place, values.to(outputs.dtype.element_ty), mask=here)


@kernel
def _sums(
    frames, bias, mean, inverse, upstream, partial, rows, columns, each, stride, tile_rows: tl.constexpr, tile_columns: tl.constexpr
):  # fmt: skip
    """Each program's sums of the upstream gradient, and of its product with the normalised frames."""
    first = tl.program_id(0) * each
    column = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
    last = tl.minimum(first + each, rows)
    inside = column < columns
    centre = tl.load(mean + column, mask=inside, other=0.0)
    scale = tl.load(inverse + column, mask=inside, other=0.0)
    total = tl.zeros([tile_rows, tile_columns], tl.float32)
    product = tl.zeros([tile_rows, tile_columns], tl.float32)
    for start in range(first, last, tile_rows):
        row = start + tl.arange(0, tile_rows)
        here = (row < last)[:, None] & inside[None, :]
        above = tl.load(upstream + row[:, None].to(tl.int64) * stride + column[None, :], mask=here, other=0.0).to(tl.float32)
        normal = (_rectified_tile(frames, bias, row, column, here, columns) - centre[None, :]) * scale[None, :]
        total += above
        product += above * normal
    place = partial + tl.program_id(0) * 2 * columns + column
    tl.store(place, tl.sum(total, axis=0), mask=inside)
    tl.store(place + columns, tl.sum(product, axis=0), mask=inside)


@kernel
def _gradient(
    frames, bias, mean, inverse, upstream, weight, sums, gradient, partial_bias, rows, columns, each, stride, partial_stride,
    tile_rows: tl.constexpr, tile_columns: tl.constexpr,
):  # fmt: skip
    """The gradient of the frames, and each program's sum of it: that of the bias."""
    first = tl.program_id(0) * each
    column = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
    last = tl.minimum(first + each, rows)
    inside = column < columns
    centre = tl.load(mean + column, mask=inside, other=0.0)
    scale = tl.load(inverse + column, mask=inside, other=0.0)
    gain = tl.load(weight + column, mask=inside, other=0.0) * scale
    along = tl.load(sums + column, mask=inside, other=0.0) / rows
    slope = tl.load(sums + columns + column, mask=inside, other=0.0) / rows
    total = tl.zeros([tile_rows, tile_columns], tl.float32)
    for start in range(first, last, tile_rows):
        row = start + tl.arange(0, tile_rows)
        here = (row < last)[:, None] & inside[None, :]
        above = tl.load(upstream + row[:, None].to(tl.int64) * stride + column[None, :], mask=here, other=0.0).to(tl.float32)
        values = _rectified_tile(frames, bias, row, column, here, columns)
        normal = (values - centre[None, :]) * scale[None, :]
        back = gain[None, :] * (above - along[None, :] - normal * slope[None, :])
        back = tl.where(here & (values > 0.0), back, 0.0)
        total += back
        place = row[:, None].to(tl.int64) * columns + column[None, :]
        tl.store(gradient + place, back.to(gradient.dtype.element_ty), mask=here)
    tl.store(partial_bias + tl.program_id(0) * partial_stride + column, tl.sum(total, axis=0), mask=inside)
