"""Schedules, clipping of gradients, and averages of weights."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_swa_multi_avg_fn, update_bn

from selfsv.engine.graphs import without_graphs
from selfsv.torch_internals import norms, scale

SMALLEST_NORM = 1e-6  # as DINO and torch have it

# Schedules of learning rates, momenta, temperatures and margins: plain functions of progress --------------------------------


def cosine(start: float, end: float, fraction: float) -> float:
    """From `start` to `end` along half a cosine, at `fraction` (0 to 1) of the way."""
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def linear(start: float, end: float, fraction: float) -> float:
    """From `start` to `end` along a line; constant outside 0 to 1."""
    return start + (end - start) * min(max(fraction, 0.0), 1.0)


def warmup_then_cosine(epoch: float, epochs: int, warmup: int, peak: float, final: float) -> float:
    """Linear from 0 to `peak` over `warmup` epochs, then cosine to `final` at `epochs` (paper V-D1)."""
    if epoch < warmup:
        return peak * epoch / warmup
    return cosine(peak, final, (epoch - warmup) / max(epochs - warmup, 1e-9))


def warmup_then_exponential(epoch: float, epochs: int, warmup: int, start: float, final: float) -> float:
    """Exponential from `start` at 0 to `final` at `epochs` (paper V-E1), times a linear warm-up."""
    ramp = min(1.0, epoch / warmup) if warmup else 1.0
    return ramp * start * (final / start) ** (epoch / epochs)


def margin_ramp(epoch: float, start_epoch: int, full_epoch: int, margin: float) -> float:
    """0 before `start_epoch`, `margin` from `full_epoch` on, linear between."""
    if epoch >= full_epoch:
        return margin
    return linear(0.0, margin, (epoch - start_epoch) / max(full_epoch - start_epoch, 1e-9))


# Gradients: a norm that grows warns of a learning rate that is too high ----------------------------------------------------


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


# Averages of the weights of the last checkpoints (Izmailov et al., 2018) ----------------------------------------------------


class WeightAverage:
    """A running mean of state dicts, parameters and statistics alike.

    torch's `AveragedModel` copies a module, with the compiled forward of the original, and refuses to average BatchNorm's counters.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: dict[str, Tensor] = {}

    def add(self, weights: dict[str, Tensor]) -> None:
        """Count `weights` in. Integer entries (BatchNorm's counters) are taken from the newest."""
        averaged = [name for name, value in weights.items() if self.count and value.is_floating_point()]
        if averaged:
            get_swa_multi_avg_fn()([self.mean[name] for name in averaged], [weights[name] for name in averaged], self.count)
        self.mean |= {name: value.detach().clone() for name, value in weights.items() if name not in averaged}
        self.count += 1

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from what `vars` gave of an average, on `device`."""
        self.count, self.mean = state["count"], {name: value.to(device) for name, value in state["mean"].items()}


def reestimate(network: nn.Module, inputs: Iterable[Tensor]) -> None:
    """Replace the running statistics of all BatchNorm layers by their means over the batches `inputs`.

    The mean of several checkpoints' statistics would be that of other weights' activations, and a deep network feels it.

    Args:
        inputs: what `network` takes, one batch at least.
    """
    # Uncompiled: torch would compile each layer again for every number of batches.
    with torch.compiler.set_stance("force_eager"), without_graphs():
        update_bn(inputs, network)
