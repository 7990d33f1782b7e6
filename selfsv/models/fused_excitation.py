"""Squeeze-excitation with its residual connection, of a training step in few passes over memory, as Triton kernels for GPUs.

torch reads and writes the frames once for the product and the sum, and in the backward pass once for each of the two factors, for the mean
over time, and for the sum of both gradients.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from selfsv.models.ecapa import SqueezeExcitation

FRAMES, COLUMNS = 16, 64  # of a tile

kernel = triton.jit(do_not_specialize=["length"])  # nothing is compiled anew for another one


def excited(frames: Tensor, inner: Tensor, se: SqueezeExcitation) -> Tensor:
    """frames + inner * se(inner), all [B, T, C], in the type of `inner`; the factors are float32.

    Frames count to the last one: nothing is padded.
    """
    weights = se.squeeze.weight, se.squeeze.bias, se.excite.weight, se.excite.bias
    return _Excited.apply(frames.to(inner.dtype).contiguous(), inner.contiguous(), *weights)


def _grid(frames: Tensor) -> tuple[int, int]:
    return len(frames), triton.cdiv(frames.shape[2], COLUMNS)


class _Excited(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, frames: Tensor, inner: Tensor, squeeze: Tensor, squeeze_bias: Tensor, excite: Tensor, excite_bias: Tensor
    ) -> Tensor:
        length, columns = inner.shape[1:]
        with torch.autocast(inner.device.type, enabled=False):
            mean = inner.mean(dim=1, dtype=torch.float32)
            hidden = torch.addmm(squeeze_bias, mean, squeeze.T).relu_()
            factors = torch.addmm(excite_bias, hidden, excite.T).sigmoid_()
        outputs = torch.empty_like(inner)
        _excited[_grid(inner)](frames, inner, factors, outputs, length, columns, FRAMES, COLUMNS)
        context.save_for_backward(inner, mean, hidden, factors, squeeze, excite)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(context: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        inner, mean, hidden, factors, squeeze, excite = context.saved_tensors
        length, columns = inner.shape[1:]
        if upstream.stride(2) != 1 or upstream.stride(0) != length * upstream.stride(1):
            upstream = upstream.contiguous()
        of_factors = torch.empty_like(factors)
        _products[_grid(inner)](upstream, inner, of_factors, length, columns, upstream.stride(1), FRAMES, COLUMNS)
        of_logits = of_factors * factors * (1 - factors)
        of_hidden = (of_logits @ excite) * (hidden > 0)
        of_inner, of_mean = torch.empty_like(inner), of_hidden @ squeeze
        _of_inner[_grid(inner)](upstream, factors, of_mean, of_inner, length, columns, upstream.stride(1), FRAMES, COLUMNS)
        of_weights = of_hidden.T @ mean, of_hidden.sum(dim=0), of_logits.T @ hidden, of_logits.sum(dim=0)
        return upstream, of_inner, *of_weights


@kernel
def _excited(frames, inner, factors, outputs, length, columns, tile_frames: tl.constexpr, tile_columns: tl.constexpr):
    """frames + inner * factors, of one utterance and a tile of its channels."""
    utterance = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
    inside = column < columns
    factor = tl.load(factors + utterance * columns + column, mask=inside, other=0.0)
    for start in range(0, length, tile_frames):
        frame = start + tl.arange(0, tile_frames)
        here = (frame < length)[:, None] & inside[None, :]
        place = (utterance * length + frame[:, None]) * columns + column[None, :]
        values = tl.load(inner + place, mask=here, other=0.0).to(tl.float32) * factor[None, :]
        values += tl.load(frames + place, mask=here, other=0.0).to(tl.float32)
        tl.store(outputs + place, values.to(outputs.dtype.element_ty), mask=here)


@kernel
def _products(upstream, inner, sums, length, columns, stride, tile_frames: tl.constexpr, tile_columns: tl.constexpr):
    """The gradient of the factors: the sum of upstream * inner over time."""
    utterance = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
    inside = column < columns
    total = tl.zeros([tile_frames, tile_columns], tl.float32)
    for start in range(0, length, tile_frames):
        frame = start + tl.arange(0, tile_frames)
        here = (frame < length)[:, None] & inside[None, :]
        row = utterance * length + frame[:, None]
        above = tl.load(upstream + row * stride + column[None, :], mask=here, other=0.0).to(tl.float32)
        total += above * tl.load(inner + row * columns + column[None, :], mask=here, other=0.0).to(tl.float32)
    tl.store(sums + utterance * columns + column, tl.sum(total, axis=0), mask=inside)


@kernel
def _of_inner(upstream, factors, of_mean, of_inner, length, columns, stride, tile_frames: tl.constexpr, tile_columns: tl.constexpr):
    """upstream * factors, and each frame's share of the gradient of the mean over time."""
    utterance = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * tile_columns + tl.arange(0, tile_columns)
    inside = column < columns
    factor = tl.load(factors + utterance * columns + column, mask=inside, other=0.0)
    share = tl.load(of_mean + utterance * columns + column, mask=inside, other=0.0) / length
    for start in range(0, length, tile_frames):
        frame = start + tl.arange(0, tile_frames)
        here = (frame < length)[:, None] & inside[None, :]
        row = utterance * length + frame[:, None]
        above = tl.load(upstream + row * stride + column[None, :], mask=here, other=0.0).to(tl.float32)
        back = above * factor[None, :] + share[None, :]
        tl.store(of_inner + row * columns + column[None, :], back.to(of_inner.dtype.element_ty), mask=here)
