"""The baselines that learn no weights: statistics of the features over time, as they are and whitened."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from selfsv.models.ecapa import frame_mask

SMALLEST_VARIANCE = 1e-4  # of a direction, as a share of the largest: whitening takes smaller ones for this
MOST_EMBEDDINGS = 100_000  # that a whitening is fitted to: hundreds for each of its directions


class FbankStatistics(nn.Module):
    """Mean and standard deviation of each log-mel band over an utterance."""

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[B, T, F] to [B, 2 F]; `lengths` ([B], frames) as for the encoder."""
        if lengths is None:
            lengths = torch.full((len(features),), features.shape[1], device=features.device)
        mask = frame_mask(lengths, features)
        count = lengths.view(-1, 1)
        mean = (features * mask).sum(dim=1) / count
        squares = ((features - mean.unsqueeze(1)).square() * mask).sum(dim=1) / count
        return torch.cat([mean, squares.sqrt()], dim=1)


class WhitenedFbankStatistics(FbankStatistics):
    """`FbankStatistics`, centred and turned so that all directions vary alike over the corpus that the whitening was fitted to.

    Args:
        mel_bins: F.
    """

    mean: Tensor  # [2 F]
    turn: Tensor  # [2 F, 2 F]

    def __init__(self, mel_bins: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(2 * mel_bins))
        self.register_buffer("turn", torch.eye(2 * mel_bins))

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """[B, T, F] to [B, 2 F]; `lengths` ([B], frames) as for the encoder."""
        statistics = super().forward(features, lengths)
        with torch.autocast(features.device.type, enabled=False):  # scales that differ a hundredfold need all digits
            return (statistics.float() - self.mean) @ self.turn


def whitening(embeddings: np.ndarray) -> dict[str, Tensor]:
    """The weights of `WhitenedFbankStatistics`: principal directions of embeddings, each divided by its deviation. No label is needed.

    Args:
        embeddings: [N, D]; of more than 100,000 every nth is used.
    """
    used = embeddings[:: math.ceil(len(embeddings) / MOST_EMBEDDINGS)].astype(np.float64)
    mean = used.mean(axis=0)
    centred = used - mean
    variances, directions = np.linalg.eigh(centred.T @ centred / len(used))
    scales = np.maximum(variances / variances[-1], SMALLEST_VARIANCE) ** -0.5
    return {"mean": torch.from_numpy(mean).float(), "turn": torch.from_numpy(directions * scales).float()}
