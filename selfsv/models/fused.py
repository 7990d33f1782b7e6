"""Encoders as they run on a GPU: the same layers and weights, with fewer passes over memory.

Some four fifths of a step's time of ECAPA-TDNN lie between the matrix products, where torch's operations each read and write all frames.
Here bias, ReLU and BatchNorm are one, so are squeeze-excitation and its residual connection, pooling is two, and the dilated layers of
Res2 are convolutions. Of encoders that see images BatchNorm alone is replaced, which takes torch half of a step of a ResNet34 of faces.
`torch.compile` finds most of this, too, but takes minutes for what compiles here in seconds, and again for each length of crop.
"""

from collections.abc import Callable
from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsv.models.dilated import Dilated
from selfsv.models.ecapa import SMALLEST_VARIANCE, EcapaTdnn, FrameNorm, Res2Layer, SeRes2Block, TdnnLayer, TimeDelay
from selfsv.torch_internals import BatchNorm


def fuse(module: nn.Module) -> None:
    """Have `module`, an encoder on a GPU, compute so as far as it has such layers.

    BatchNorm whose sums go through several processes stays as it is, and so does what needs gradients in evaluation.
    """
    for part in module.modules():
        for kind, forward in FORWARDS:
            if type(part) is kind and all(type(norm) in NORMS for norm in part.modules() if isinstance(norm, BatchNorm)):
                part.forward = MethodType(forward, part)  # type: ignore[method-assign]
    if isinstance(module, EcapaTdnn):
        module.pooled = MethodType(_pooled, module)  # type: ignore[method-assign]


def trains(layer: nn.Module, mask: Tensor | None) -> bool:
    """Whether this is a step of a training. At its end BatchNorm may estimate its statistics anew, and has no momentum then."""
    return layer.training and mask is None and not any(getattr(norm, "momentum", 0.0) is None for norm in layer.modules())


def evaluates(layer: nn.Module) -> bool:
    """Whether gradients are out of the question."""
    return not layer.training and not torch.is_grad_enabled()


def _tdnn_layer(layer: TdnnLayer, frames: Tensor, mask: Tensor | None) -> Tensor:
    from selfsv.models.fused_norm import relu_norm, relu_norm_by_running  # Triton comes with torch's builds for GPUs alone

    if trains(layer, mask):
        return relu_norm(delayed(layer.delay, frames), layer.delay.affine.bias, layer.norm)
    if evaluates(layer):
        return relu_norm_by_running(delayed(layer.delay, frames), layer.delay.affine.bias, layer.norm, mask)
    return TdnnLayer.forward(layer, frames, mask)


def delayed(delay: TimeDelay, frames: Tensor) -> Tensor:
    """[B, T, inputs] to [B, T, outputs], without the bias."""
    if delay.kernel == 1:
        return F.linear(frames, delay.affine.weight)
    if delay.stride > 1 or len(delay.affine.weight) > frames.shape[2]:  # the first layer: many outputs for its few inputs
        return F.linear(delay.spliced(frames), delay.affine.weight)
    dilated = Dilated.of(delay)
    return dilated(frames, dilated.filters(delay.affine.weight))


def _res2_layer(layer: Res2Layer, frames: Tensor, mask: Tensor | None) -> Tensor:
    from selfsv.models.fused_res2 import res2

    return res2(layer, frames) if trains(layer, mask) else Res2Layer.forward(layer, frames, mask)


def _block(block: SeRes2Block, frames: Tensor, mask: Tensor | None) -> Tensor:
    from selfsv.models.fused_excitation import excited

    if not trains(block, mask):
        return SeRes2Block.forward(block, frames, mask)
    return excited(frames, block.leave(block.res2(block.enter(frames, mask), mask), mask), block.se)


def _pooled(encoder: EcapaTdnn, frames: Tensor, mask: Tensor | None) -> Tensor:
    from selfsv.models.fused_pooling import attentive_statistics, pooled_by_attention, rectified_statistics

    pool, bias = encoder.pool, encoder.aggregate.affine.bias

    def scores(rectified: Tensor, statistics: Tensor) -> Tensor:
        return pool.attend(torch.tanh(pool.local(rectified) + pool.context(statistics).unsqueeze(1)))

    if encoder.training and mask is None:
        rectified, statistics = rectified_statistics(delayed(encoder.aggregate, frames), bias, SMALLEST_VARIANCE)
        return attentive_statistics(scores(rectified, statistics), rectified, SMALLEST_VARIANCE)
    if evaluates(encoder):
        return pooled_by_attention(delayed(encoder.aggregate, frames), bias, scores, SMALLEST_VARIANCE, mask)
    return EcapaTdnn.pooled(encoder, frames, mask)


def _image_norm(norm: nn.BatchNorm2d, images: Tensor) -> Tensor:
    from selfsv.models.fused_norm import image_norm

    if trains(norm, None) and images.is_contiguous(memory_format=torch.channels_last):
        return image_norm(images, norm)
    return nn.BatchNorm2d.forward(norm, images)


NORMS = (FrameNorm, nn.BatchNorm2d)  # of one process
FORWARDS: list[tuple[type[nn.Module], Callable[..., Tensor]]] = [
    (TdnnLayer, _tdnn_layer),
    (Res2Layer, _res2_layer),
    (SeRes2Block, _block),
    (nn.BatchNorm2d, _image_norm),
]
