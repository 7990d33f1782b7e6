"""A Res2 layer of a training step on a GPU (Gao et al., 2019): its parts go straight to their places.

Eight groups of channels, of which each but the first is added to the output of the one before. torch copies the groups out of the
frames, adds, and copies the outputs together again, and the same for the gradients. Here the kernel that normalises a group writes it to
its place in the layer's output, and beside it its sum with the next group.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from selfsv.models.dilated import Dilated
from selfsv.models.ecapa import RES2_SCALE, FrameNorm, Res2Layer, TdnnLayer, TimeDelay
from selfsv.models.fused_norm import gradients, normalise, statistics_of

WEIGHTS = 4  # of a group: filters, bias, BatchNorm's weight and bias
KEPT = 6  # tensors of a group that the backward pass needs


def res2(layer: Res2Layer, frames: Tensor) -> Tensor:
    """[B, T, C] to [B, T, C] by the statistics of the batch."""
    parts = parts_of(layer)
    weights = [weight for delay, norm in parts for weight in (delay.affine.weight, delay.affine.bias, norm.weight, norm.bias)]
    return _Res2.apply(frames.contiguous(), *weights, parts)


def parts_of(layer: Res2Layer) -> list[tuple[TimeDelay, FrameNorm]]:
    """The delay and the norm of each group but the last."""
    return [(part.delay, part.norm) for part in layer.layers if isinstance(part, TdnnLayer)]


class _Res2(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, frames: Tensor, *weights_and_parts: Any) -> Tensor:
        *weights, parts = weights_and_parts
        batch, length, channels = frames.shape
        width, rows = channels // RES2_SCALE, frames.view(-1, channels)
        outputs, kept = torch.empty_like(rows), []
        current: Tensor | None = rows[:, :width].contiguous()
        with torch.autocast(frames.device.type, enabled=False):
            for group, (layer, norm) in enumerate(parts):
                assert current is not None
                delay = Dilated.of(layer)
                filters, bias = delay.filters(weights[WEIGHTS * group].to(frames.dtype)), weights[WEIGHTS * group + 1]
                product = delay(current.view(batch, length, width), filters).view(-1, width)
                statistics = statistics_of(product, bias, norm)
                kept += [current, filters, product, bias, norm.weight, statistics]
                here = slice(group * width, (group + 1) * width)
                beside = rows[:, here.stop : here.stop + width] if group + 2 < RES2_SCALE else None
                current = normalise(product, bias, statistics, norm, outputs[:, here], beside)
        outputs[:, -width:] = rows[:, -width:]
        context.save_for_backward(*kept)
        context.delays = [Dilated.of(layer) for layer, _ in parts]
        return outputs.view(frames.shape)

    @staticmethod
    @once_differentiable
    def backward(context: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        batch, length, channels = upstream.shape
        width, rows = channels // RES2_SCALE, upstream.reshape(-1, channels)
        rows = rows if rows.stride(1) == 1 else rows.contiguous()
        saved, carried = context.saved_tensors, None
        of_frames = [rows[:, -width:]]
        of_weights: list[Tensor] = []
        for group in reversed(range(RES2_SCALE - 1)):
            current, filters, product, bias, weight, statistics = saved[KEPT * group : KEPT * (group + 1)]
            above = rows[:, group * width : (group + 1) * width]
            of_product, of_bias, of_gain, of_shift = gradients(product, bias, weight, statistics, above, carried)
            shaped = (one.view(batch, length, width) for one in (of_product, current))
            back, of_filters = context.delays[group].backward(*shaped, filters)
            carried = back.view(-1, width)
            of_frames.append(carried)
            of_weights = [context.delays[group].weight(of_filters), of_bias, of_gain, of_shift, *of_weights]
        return torch.cat(of_frames[::-1], dim=1).view(upstream.shape), *of_weights, None
