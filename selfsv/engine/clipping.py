"""Limits on gradients, and their norms before: a norm that grows warns of a learning rate that is too high."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from selfsv.torch_internals import norms, scale

SMALLEST_NORM = 1e-6  # as DINO and torch have it


class Clipped(NamedTuple):
    """Figures of a step's gradients, on the device: nothing waits for them."""

    norm: Tensor  # scalar, of all gradients together before clipping
    share: Tensor  # scalar, how much was clipped: of the tensors (`clip_each`), or all or nothing (`clip_together`)


def clip_each(parameters: Iterable[nn.Parameter], largest: float | None) -> Clipped:
    """Limit the norm of every parameter's gradient by itself, as DINO's and WeSpeaker's `clip_gradients` do.

    Args:
        largest: norm that each gradient may have; None: any.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    each = norms(gradients)
    if largest is not None:
        scale(gradients, (largest / (each + SMALLEST_NORM)).clamp(max=1.0))
    return _clipped(torch.linalg.vector_norm(each), each, largest)


def clip_together(parameters: Iterable[nn.Parameter], largest: float | None) -> Clipped:
    """Limit the norm of all gradients together, as `torch.nn.utils.clip_grad_norm_` does.

    Args:
        largest: norm that they may have; None: any.
    """
    with_gradients = [parameter for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in with_gradients if parameter.grad is not None])
    if largest is not None:
        nn.utils.clip_grads_with_norm_(with_gradients, largest, norm)
    return _clipped(norm, norm, largest)


def _clipped(total: Tensor, each: Tensor, largest: float | None) -> Clipped:
    share = torch.zeros_like(total) if largest is None else (each > largest).float().mean()
    return Clipped(total, share)
