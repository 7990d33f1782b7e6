"""Algorithm 1 of the paper: which loss each utterance contributes."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

RELIABLE, CORRECTED, DROPPED = 0, 1, 2
DECISIONS = ("reliable", "corrected", "dropped")


class Gate(NamedTuple):
    """What decides over an utterance. An infinite `threshold` trusts every label; a `confidence` of 1 corrects none."""

    threshold: float  # tau_1, on the clean loss
    confidence: float  # tau_2, on the greatest clean probability
    sharpening: float  # epsilon_c


def decide(clean_loss: Tensor, clean_cosines: Tensor, scale: float, gate: Gate) -> Tensor:
    """[B] RELIABLE, CORRECTED or DROPPED (Algorithm 1, lines 6 to 15).

    The confidence is tested on the clean prediction as it is, without margin and before any sharpening.

    Args:
        clean_loss: [B] AAM losses of the clean segments.
        clean_cosines: [B, C] of the clean segments.
        scale: s of the softmax.
    """
    confident = torch.softmax(scale * clean_cosines, dim=1).amax(dim=1) > gate.confidence
    unreliable = torch.where(confident, CORRECTED, DROPPED)
    return torch.where(clean_loss < gate.threshold, RELIABLE, unreliable)


def gated_loss(
    decisions: Tensor, augmented_loss: Tensor, clean_cosines: Tensor, augmented_cosines: Tensor, scale: float, gate: Gate
) -> Tensor:
    """[B] losses to train on (Eq. 9 to 11).

    Where the label is reliable the AAM loss, where it is corrected the cross-entropy against the sharpened clean
    prediction, and 0 where the utterance is dropped.

    Args:
        decisions: [B] of `decide`.
        augmented_loss: [B] AAM losses of the augmented segments against the pseudo labels.
        clean_cosines, augmented_cosines: [B, C], without margin; the clean ones carry no gradient.
        scale: s of the softmax.
    """
    target = torch.softmax(scale * clean_cosines.detach() / gate.sharpening, dim=1)
    correction = F.cross_entropy(scale * augmented_cosines, target, reduction="none")
    kept = torch.where(decisions == RELIABLE, augmented_loss, correction)
    return torch.where(decisions == DROPPED, torch.zeros_like(kept), kept)
