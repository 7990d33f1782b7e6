"""Algorithm 1 of the paper: which loss each utterance contributes."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

RELIABLE, CORRECTED, DROPPED, AGREED = range(4)
DECISIONS = ("reliable", "corrected", "dropped", "agreed")  # the last one with two modalities only


class Gate(NamedTuple):
    """The thresholds that decide over an utterance. An infinite `threshold` trusts every label; a `confidence` of 1 corrects none."""

    threshold: float  # tau_1, on the clean loss
    confidence: float  # tau_2, on the greatest clean probability
    sharpening: float  # epsilon_c


class CleanOutputs(NamedTuple):
    """The outputs of one modality's network on the clean segments."""

    loss: Tensor  # [B] losses against the pseudo labels, which the gate judges
    cosines: Tensor  # [B, C] without margin


def decide(clean_loss: Tensor, clean_cosines: Tensor, scale: float, gate: Gate) -> Tensor:
    """[B] RELIABLE, CORRECTED or DROPPED (Algorithm 1, lines 6 to 15).

    The confidence is tested on the clean prediction as it is, without margin and before any sharpening.

    Args:
        clean_loss: [B] AAM losses of the clean segments.
        clean_cosines: [B, C] of the clean segments.
        scale: s of the softmax.
    """
    return torch.where(clean_loss < gate.threshold, RELIABLE, unreliable(clean_cosines, scale, gate))


def unreliable(clean_cosines: Tensor, scale: float, gate: Gate) -> Tensor:
    """[B] CORRECTED or DROPPED: what becomes of utterances whose label is not trusted."""
    confident = torch.softmax(scale * clean_cosines, dim=1).amax(dim=1) > gate.confidence
    return torch.where(confident, CORRECTED, DROPPED)


def gated_loss(
    decisions: Tensor,
    augmented_loss: Tensor,
    clean_cosines: Tensor,
    augmented_cosines: Tensor,
    scale: float,
    gate: Gate,
    trust: Tensor | None = None,
) -> Tensor:
    """[B] losses to train on (Eq. 9 to 11).

    Where the label is reliable or agreed on the AAM loss, where it is corrected the cross-entropy against the sharpened
    clean prediction, and 0 where the utterance is dropped.

    Args:
        decisions: [B] of `decide`.
        augmented_loss: [B] AAM losses of the augmented segments against the labels.
        clean_cosines, augmented_cosines: [B, C], without margin; the clean ones carry no gradient.
        scale: s of the softmax.
        trust: [B] in 0 to 1, how far each label counts; the rest of a corrected utterance is its correction. None: wholly or not at all,
            as `decisions` say.
    """
    target = torch.softmax(scale * clean_cosines.detach() / gate.sharpening, dim=1)
    correction = F.cross_entropy(scale * augmented_cosines, target, reduction="none")
    if trust is not None:
        return trust * augmented_loss + (1 - trust) * torch.where(decisions == CORRECTED, correction, 0.0)
    chosen = torch.where((decisions == RELIABLE) | (decisions == AGREED), augmented_loss, correction)
    return torch.where(decisions == DROPPED, torch.zeros_like(chosen), chosen)
