"""ECAPA-TDNN as it trains on a GPU: the same layers and weights, with fewer passes over memory.

Some four fifths of a step's time lie between the matrix products, where torch's operations each read and write all frames. Here bias,
ReLU and BatchNorm are one, pooling is two, and the dilated layers of Res2 are convolutions. `torch.compile` finds most of it, too, but
takes minutes for what compiles here in seconds, and again for each length of crop.
"""

from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsv.models.ecapa import SMALLEST_VARIANCE, EcapaTdnn, FrameNorm, SeRes2Block, TdnnLayer, TimeDelay


def fuse(module: nn.Module) -> bool:
    """Have `module` compute so in training; whether it is an encoder for which this is known. In evaluation nothing changes.

    BatchNorm whose sums go through several processes stays as it is.
    """
    if not isinstance(module, EcapaTdnn):
        return False
    for part in module.modules():
        if isinstance(part, TdnnLayer) and type(part.norm) is FrameNorm:
            part.forward = MethodType(_tdnn_layer, part)  # type: ignore[method-assign]
        elif isinstance(part, SeRes2Block):
            part.forward = MethodType(_block, part)  # type: ignore[method-assign]
    module.pooled = MethodType(_pooled, module)  # type: ignore[method-assign]
    return True


def _tdnn_layer(layer: TdnnLayer, frames: Tensor, mask: Tensor | None) -> Tensor:
    from selfsv.models.fused_norm import relu_norm  # Triton comes with torch's builds for GPUs alone

    if not layer.training or mask is not None:
        return type(layer).forward(layer, frames, mask)
    return relu_norm(delayed(layer.delay, frames), layer.delay.affine.bias, layer.norm)


def delayed(delay: TimeDelay, frames: Tensor) -> Tensor:
    """[B, T, inputs] to [B, T, outputs], without the bias."""
    if delay.kernel == 1:
        return F.linear(frames, delay.affine.weight)
    if delay.stride > 1 or len(delay.affine.weight) > frames.shape[2]:  # the first layer: many outputs for its few inputs
        return F.linear(delay.spliced(frames), delay.affine.weight)
    # Frames by channels are the layout of an image of one row with channels last, and spliced weights that of its filters.
    image = frames.transpose(1, 2).unsqueeze(2)
    filters = delay.affine.weight.view(len(delay.affine.weight), 1, delay.kernel, -1).permute(0, 3, 1, 2)
    reach = delay.dilation * (delay.kernel // 2)
    return F.conv2d(image, filters, padding=(0, reach), dilation=(1, delay.dilation)).squeeze(2).transpose(1, 2)


def _block(block: SeRes2Block, frames: Tensor, mask: Tensor | None) -> Tensor:
    if not block.training:
        return type(block).forward(block, frames, mask)
    inner = block.leave(block.res2(block.enter(frames, mask), mask), mask)
    return torch.addcmul(frames.to(inner.dtype), inner, block.se(inner, mask).unsqueeze(1))


def _pooled(encoder: EcapaTdnn, frames: Tensor, mask: Tensor | None) -> Tensor:
    from selfsv.models.fused_pooling import attentive_statistics, rectified_statistics

    if not encoder.training or mask is not None:
        return type(encoder).pooled(encoder, frames, mask)
    pool, bias = encoder.pool, encoder.aggregate.affine.bias
    frames, statistics = rectified_statistics(delayed(encoder.aggregate, frames), bias, SMALLEST_VARIANCE)
    hidden = torch.tanh(pool.local(frames) + pool.context(statistics).unsqueeze(1))
    return attentive_statistics(pool.attend(hidden), frames, SMALLEST_VARIANCE)
