"""The projection head that DINO puts on the encoder (paper III-A; Caron et al., 2021)."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsv.settings.pretrain import HeadSettings

INITIAL_DEVIATION = 0.02


class ProjectionHead(nn.Module):
    """MLP, L2 norm, and a weight-normalised linear layer whose gains are fixed to 1.

    Args:
        settings: sizes of the MLP and number of prototypes K.
        embedding: dimensions of the encoder's output.
    """

    def __init__(self, settings: HeadSettings, embedding: int):
        super().__init__()
        sizes = [embedding, settings.hidden, settings.hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] if settings.batchnorm else []), nn.GELU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(settings.hidden, settings.bottleneck))
        self.prototypes = nn.Linear(settings.bottleneck, settings.prototypes, bias=False)
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=INITIAL_DEVIATION)
                nn.init.zeros_(layer.bias)

    def forward(self, embeddings: Tensor) -> Tensor:
        """[B, embedding] to logits [B, K]: cosines between the projected embedding and each prototype."""
        projected = self.mlp(embeddings)
        # In the weights' own precision under autocast, too: these cosines are divided by temperatures down to 0.04, and so is
        # their rounding. In bfloat16 it moves the teacher's largest probabilities by some percent.
        with torch.autocast(projected.device.type, enabled=False):
            prototypes = F.normalize(self.prototypes.weight, dim=1)
            return F.linear(F.normalize(projected.to(prototypes.dtype), dim=1), prototypes)
