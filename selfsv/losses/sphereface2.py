"""SphereFace2: a binary decision per class instead of a softmax over all (Wen et al., 2021; for speakers Han et al., 2023).

A wrong label misleads two of its decisions, where it shifts a softmax as a whole.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsv.losses.aam import AamClassifier


class SphereFace2Classifier(AamClassifier):
    """Outputs are cosines, as of `AamClassifier`; only the loss is another one (type C: the margin is taken from the cosine).

    Args:
        embedding: dimensions of the encoder's output.
        classes: number of speakers.
        balance: lambda, weight of the label's decision against all others together.
        exponent: t, which spreads the similarities.
        scale, margin: s and m, for the start of the bias.
    """

    def __init__(self, embedding: int, classes: int, *, balance: float, exponent: float, scale: float, margin: float):
        super().__init__(embedding, classes)
        self._balance, self._exponent = balance, exponent
        self.bias = nn.Parameter(torch.tensor(balanced_bias(classes, balance, exponent, scale, margin)))

    def losses(self, cosines: Tensor, labels: Tensor, scale: float, margin: float) -> Tensor:
        """[B] losses, nats.

        They are lambda log(1 + e^-(s (g(cos_y) - m) + b)) + (1 - lambda) sum over j != y of log(1 + e^(s (g(cos_j) + m) + b)).
        """
        similarities = spread(cosines, self._exponent)
        own = F.one_hot(labels, cosines.shape[1]).bool()
        positive = F.softplus(-(scale * (similarities - margin) + self.bias))
        negative = F.softplus(scale * (similarities + margin) + self.bias)
        return torch.where(own, self._balance * positive, (1 - self._balance) * negative).sum(dim=1)


def spread(cosines: Tensor, exponent: float) -> Tensor:
    """g(z) = 2 ((z + 1) / 2)^t - 1: small cosines, which most are, become smaller."""
    return 2 * ((cosines + 1) / 2).clamp(min=0).pow(exponent) - 1


def balanced_bias(classes: int, balance: float, exponent: float, scale: float, margin: float) -> float:
    """The bias b at which the label and all other classes pull equally hard while every cosine is 0.

    That is lambda sigmoid(-(p + b)) = (1 - lambda) (C - 1) sigmoid(n + b) with p = s (g(0) - m), n = s (g(0) + m): a quadratic
    equation for e^b.

    Args:
        classes: C.
        others: as of `SphereFace2Classifier`.
    """
    if classes == 1:
        return 0.0
    ratio = balance / ((1 - balance) * (classes - 1))
    start = 2 * 0.5**exponent - 1
    positive, negative = math.exp(scale * (start - margin)), math.exp(scale * (start + margin))
    linear = negative * (1 - ratio)
    return math.log((math.sqrt(linear**2 + 4 * positive * negative * ratio) - linear) / (2 * positive * negative))
