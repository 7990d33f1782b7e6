"""The projection head that DINO puts on the encoder (paper III-A; Caron et al., 2021)."""

from itertools import pairwise
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from selfsv.settings.pretrain import HeadSettings

INITIAL_DEVIATION = 0.02


class ProjectionMlp(nn.Sequential):
    """Two hidden layers, with GELU and BatchNorm or without, and a linear one.

    Args:
        embedding: dimensions of the encoder's output.
        hidden: units of each hidden layer.
        bottleneck: dimensions of the output.
    """

    def __init__(self, embedding: int, hidden: int, bottleneck: int, batchnorm: bool | None):
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([embedding, hidden, hidden]):
            layers += [nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] if batchnorm else []), nn.GELU()]
        super().__init__(*layers, nn.Linear(hidden, bottleneck))

    def initialise(self) -> Self:
        """Draw the weights anew, as DINO does."""
        for layer in self:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=INITIAL_DEVIATION)
                nn.init.zeros_(layer.bias)
        return self


class ProjectionHead(nn.Module):
    """MLP, L2 norm, and a weight-normalised linear layer whose gains are fixed to 1.

    Args:
        settings: sizes of the MLP and number of prototypes K.
        embedding: dimensions of the encoder's output.
    """

    def __init__(self, settings: HeadSettings, embedding: int):
        super().__init__()
        self.mlp = ProjectionMlp(embedding, settings.hidden, settings.bottleneck, settings.batchnorm)
        self.prototypes = nn.Linear(settings.bottleneck, settings.prototypes, bias=False)
        self.mlp.initialise()

    def forward(self, embeddings: Tensor) -> Tensor:
        """[B, embedding] to logits [B, K]: cosines between the projected embedding and each prototype."""
        projected = self.mlp(embeddings)
        # In the weights' own precision under autocast, too: these cosines are divided by temperatures down to 0.04, and so is
        # their rounding. In bfloat16 it moves the teacher's largest probabilities by some percent.
        kind = projected.device.type
        rounded = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.prototypes.weight.dtype
        with torch.autocast(kind, enabled=False):
            prototypes = F.normalize(self.prototypes.weight, dim=1)
            return _Products.apply(F.normalize(projected.to(prototypes.dtype), dim=1), prototypes, rounded)


class _Products(torch.autograd.Function):
    """[B, D] and [K, D] to [B, K], in their own precision; gradients in the precision of the layers before."""

    @staticmethod
    def forward(context: Any, rows: Tensor, prototypes: Tensor, rounded: torch.dtype) -> Tensor:
        context.save_for_backward(rows.to(rounded), prototypes.to(rounded))
        return F.linear(rows, prototypes)

    @staticmethod
    @once_differentiable
    def backward(context: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        rows, prototypes = context.saved_tensors
        above = upstream.to(rows.dtype)
        return (above @ prototypes).to(upstream.dtype), (above.T @ rows).to(upstream.dtype), None
