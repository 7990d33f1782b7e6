"""Additive angular margin softmax (paper Eq. 9; Deng et al., 2019)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AamClassifier(nn.Module):
    """One weight vector per speaker or pseudo speaker; outputs are cosines.

    Args:
        embedding: dimensions of the encoder's output.
        classes: number of speakers.
    """

    def __init__(self, embedding: int, classes: int):
        super().__init__()
        self.classes = classes
        self.weight = nn.Parameter(torch.empty(classes, embedding))
        nn.init.xavier_normal_(self.weight)

    def forward(self, embeddings: Tensor) -> Tensor:
        """[B, D] to cosines [B, classes], in float32."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return F.linear(F.normalize(embeddings.float(), dim=1), F.normalize(self.weight.float(), dim=1))

    def losses(self, cosines: Tensor, labels: Tensor, scale: float, margin: float) -> Tensor:
        """[B] losses of the cosines [B, classes] against the labels [B], under scale s and margin m."""
        return aam_loss(cosines, labels, scale, margin)

    @torch.no_grad()
    def begin_with(self, means: Tensor) -> None:
        """Take the classes' means [classes, D] for weights."""
        self.weight.copy_(means)


def class_means(embeddings: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The mean of each class's embeddings at length 1: the weights of a classifier that already knows the classes.

    Args:
        embeddings: [N, D], of any length.
        labels: [N] int64; each of `classes` has members.

    Returns:
        [classes, D].
    """
    sums = embeddings.new_zeros(classes, embeddings.shape[1]).index_add_(0, labels, F.normalize(embeddings, dim=1))
    return sums / labels.bincount(minlength=classes).unsqueeze(1)


def aam_logits(cosines: Tensor, labels: Tensor, scale: float, margin: float) -> Tensor:
    """Scaled cosines with the margin added to the label's angle.

    Beyond pi - margin, where cos(theta + m) would rise again, the label's logit continues linearly downwards with the
    usual safeguard cos(theta) - m sin(m).

    Args:
        cosines: [B, C].
        labels: [B] int64.
        scale: s.
        margin: m, radians.
    """
    target = cosines.gather(1, labels.unsqueeze(1))
    sine = (1 - target.square()).clamp(min=1e-12).sqrt()
    shifted = target * math.cos(margin) - sine * math.sin(margin)
    shifted = torch.where(target > -math.cos(margin), shifted, target - math.sin(margin) * margin)
    return scale * cosines.scatter(1, labels.unsqueeze(1), shifted)


def aam_loss(cosines: Tensor, labels: Tensor, scale: float, margin: float) -> Tensor:
    """[B] AAM-softmax losses, one per utterance, nats.

    Written as log(1 + sum of the others over the label's), which keeps its precision for small losses: the loss-gate
    looks at the logarithm of the loss, and log-softmax rounds everything below 1e-7 to a few values.
    """
    logits = aam_logits(cosines, labels, scale, margin)
    target = logits.gather(1, labels.unsqueeze(1))
    others = logits.scatter(1, labels.unsqueeze(1), float("-inf")).logsumexp(dim=1)
    return F.softplus(others - target.squeeze(1), threshold=50.0)
