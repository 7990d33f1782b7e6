"""The loss-gate and label correction of two modalities (paper IV-C1): which label an utterance's voice and face are trained on."""

from typing import NamedTuple

import torch
from torch import Tensor

from selfsv.losses.label_correction import AGREED, RELIABLE, CleanOutputs, Gate, unreliable


class JointDecision(NamedTuple):
    """The decision over each utterance."""

    voice: Tensor  # [B] RELIABLE, AGREED, CORRECTED or DROPPED
    face: Tensor  # [B] likewise
    labels: Tensor  # [B] int64: the pseudo label, or the class that both networks predict


def decide_jointly(
    voice: CleanOutputs, face: CleanOutputs, labels: Tensor, scale: float, gates: tuple[Gate, Gate], *, correct: bool
) -> JointDecision:
    """Decide over utterances that have both modalities.

    A pseudo label is reliable only if both losses are below their own thresholds. Otherwise, if both networks predict the
    same class, that class is the label of both; if not, each modality is corrected, or dropped, on its own.

    Args:
        labels: [B] int64 pseudo labels.
        scale: s of the softmax.
        gates: of voice and face.
        correct: whether labels are corrected at all, by agreement or softly.
    """
    reliable = (voice.loss < gates[0].threshold) & (face.loss < gates[1].threshold)
    predicted = voice.cosines.argmax(dim=1)
    agreed = (predicted == face.cosines.argmax(dim=1)) & ~reliable & correct
    decisions = [
        torch.where(reliable, RELIABLE, torch.where(agreed, AGREED, unreliable(clean.cosines, scale, gate)))
        for clean, gate in zip((voice, face), gates, strict=True)
    ]
    return JointDecision(decisions[0], decisions[1], torch.where(agreed, predicted, labels))
