"""Augmentation adversarial training (Huh et al., 2020): embeddings that do not show whether two crops were augmented alike."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _ReversedGradient(torch.autograd.Function):
    """Nothing on the way forward, the gradient times -1 on the way back (Ganin and Lempitsky, 2015)."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return -gradient


class AugmentationAdversary(nn.Module):
    """A network that classifies pairs of crops, as under one augmentation or under two, behind a gradient reversal.

    One step teaches both sides: minimising the loss makes this network better at it, and the embeddings worse. The original takes
    turns, with an optimiser for each side.

    Args:
        embedding: D.
        hidden: units of the hidden layer.
    """

    def __init__(self, embedding: int, hidden: int = 512):
        super().__init__()
        enter = [nn.BatchNorm1d(2 * embedding), nn.ReLU(), nn.Linear(2 * embedding, hidden)]
        self.layers = nn.Sequential(*enter, nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, 2))

    def forward(self, one: Tensor, alike: Tensor, unlike: Tensor) -> Tensor:
        """Cross-entropy of its guesses, nats; ln 2 at chance.

        Args:
            one: [B, D], of a crop of each utterance.
            alike: [B, D], of another crop under the same augmentation.
            unlike: [B, D], of another crop under another augmentation.
        """
        pairs = torch.cat([torch.cat([one, alike], dim=1), torch.cat([one, unlike], dim=1)])
        guesses = self.layers(_ReversedGradient.apply(pairs)).float()
        same = (torch.arange(len(pairs), device=pairs.device) < len(one)).long()
        return F.cross_entropy(guesses, same)
