"""The baseline that learns nothing: statistics of the features over time."""

import torch
from torch import Tensor, nn

from selfsv.models.ecapa import frame_mask


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
