"""Schedules of learning rates, momenta, temperatures and margins: plain functions of progress."""

import math


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
