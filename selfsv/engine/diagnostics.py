"""Signs that a training has gone wrong, in words for the log, the history and the report."""

import math

import torch
from torch import nn

NEAR = 0.01
FEWEST_RELIABLE, MOST_RELIABLE = 0.02, 0.999
FEWEST_DIMENSIONS = 3.0  # trainings below this are those whose s-norm is worse than their cosine (docs/benchmarks/small-corpora.md)
FAST_GROWTH = 0.1  # of the accuracy in an epoch, as a part of itself


@torch.no_grad()
def all_finite(*modules: nn.Module) -> bool:
    """Whether every weight and every statistic of the modules is finite (waits for the device)."""
    tensors = [tensor for module in modules for tensor in module.state_dict().values() if tensor.is_floating_point()]
    return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())


def collapse(loss: float, teacher_entropy: float, mean_entropy: float, prototypes: int) -> str:
    """Describe what is wrong with outputs over prototypes; empty where nothing is.

    Args:
        loss: mean cross-entropy of the epoch, nats.
        teacher_entropy: mean entropy of the teacher's outputs, nats.
        mean_entropy: entropy of the mean output, nats: how many prototypes are in use.
        prototypes: K.
    """
    most = math.log(prototypes)
    if mean_entropy < NEAR * most:
        return f"COLLAPSE: every crop gets the same prototype (entropy of the mean output {mean_entropy:.3f} nats)"
    if teacher_entropy > (1 - NEAR) * most:
        return f"COLLAPSE: the teacher's output is uniform (entropy {teacher_entropy:.3f} of at most ln K = {most:.3f} nats)"
    if abs(loss - most) < NEAR * most:
        return f"COLLAPSE: the loss is pinned at ln K = {most:.3f} (it is {loss:.3f})"
    if teacher_entropy < NEAR * most:
        return f"the teacher's outputs are one-hot (entropy {teacher_entropy:.3f} nats): its temperature may be too low"
    return ""


def extreme_gate(reliable: float, corrected: float) -> str:
    """Describe a gate that keeps or drops nearly everything; empty for others.

    Args:
        reliable, corrected: fractions of the utterances.
    """
    if reliable > MOST_RELIABLE:
        return f"the gate keeps nearly everything ({100 * reliable:.1f} % reliable): it selects nothing"
    if reliable < FEWEST_RELIABLE:
        return f"the gate drops nearly everything ({100 * reliable:.1f} % reliable, {100 * corrected:.1f} % corrected)"
    return ""


def few_directions(dimensions: float) -> str:
    """Describe embeddings that use few directions; empty for others.

    Args:
        dimensions: effective ones.
    """
    if not dimensions < FEWEST_DIMENSIONS:
        return ""
    return (
        f"few directions hold most of what the embeddings say ({dimensions:.1f} effective dimensions): see pretrain.dino.redundancy_weight"
    )


def early_gate(before: float, accuracy: float) -> str:
    """Describe a gate that opens while the labels are still being learnt; empty for others.

    Args:
        before, accuracy: of the last two epochs before the gate.
    """
    if accuracy <= (1 + FAST_GROWTH) * before:
        return ""
    growth = f"from {100 * before:.0f} to {100 * accuracy:.0f} % in the last epoch before"
    return f"the gate opened too early: accuracy still grew fast ({growth}). Raise train.gate.gate_start_epoch"


def few_classes(classes: int) -> str:
    """Describe what is wrong with labels of one class; empty for others."""
    return "all labels are of one class: there is nothing to tell apart, and nothing is learnt" if classes < 2 else ""
