"""Contrastive losses between two views of every utterance: NT-Xent, angular prototypical, angular contrastive; and their companions.

Several processes may share a batch. Each compares its own utterances with those of all: `views` are its own, `whole` is everybody's,
and `first` says where its own begin in there. A process on its own gives its views twice, and 0. The losses are means over the own
utterances.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent(views: Tensor, whole: Tensor, first: int, temperature: float, margin: float = 0.0) -> Tensor:
    """Each view has to find the other view of its utterance among all other views of the batch.

    SimCLR (Chen et al., 2020, Eq. 1): -log [exp(cos(i, p) / T) / sum over k != i of exp(cos(i, k) / T)]. A margin is taken from the
    cosine of the positive alone (NT-Xent-AM; Lepage and Dehak, 2024).

    Args:
        views: [2, B, D], of length 1.
        whole: [2, N, D], likewise.
        first: place of the first own utterance among the N.
        temperature: T.
        margin: in cosine.

    Returns:
        A scalar, nats.
    """
    (_, here, _), (_, there, _) = views.shape, whole.shape
    cosines = views.flatten(0, 1) @ whole.flatten(0, 1).T  # [2 B, 2 N]
    one, other = _places(first, here, cosines), _places(there + first, here, cosines)
    itself, positive = torch.cat([one, other]).unsqueeze(1), torch.cat([other, one])
    logits = cosines.scatter(1, itself, float("-inf"))
    if margin:
        logits = logits.scatter_add(1, positive.unsqueeze(1), logits.new_full((2 * here, 1), -margin))
    return F.cross_entropy(logits / temperature, positive)


def angular_prototypical(anchors: Tensor, positives: Tensor, first: int, scale: Tensor) -> Tensor:
    """Each anchor has to find its own among the second views of all utterances (Chung et al., 2020; Huh et al., 2020, Eq. 3).

    The original adds a learnt bias to all scaled cosines, which the softmax cancels.

    Args:
        anchors: [B, D], of length 1: the first view of each own utterance.
        positives: [N, D], likewise: the second view of every utterance.
        first: place of the first own utterance among the N.
        scale: w, a scalar to be learnt; kept positive.

    Returns:
        A scalar, nats.
    """
    cosines = anchors @ positives.T
    return F.cross_entropy(scale.clamp(min=1e-6) * cosines, _places(first, len(anchors), cosines))


def angular_contrastive(views: Tensor, whole: Tensor, first: int, scale: Tensor) -> Tensor:
    """The angular prototypical loss in both directions, with one scale (Mun et al., 2020).

    Args:
        views, whole, first: as of `nt_xent`.
        scale: as of `angular_prototypical`.
    """
    one, other = (angular_prototypical(views[view], whole[1 - view], first, scale) for view in (0, 1))
    return (one + other) / 2


def uniformity(whole: Tensor, sharpness: float = 2.0) -> Tensor:
    """Uniformity of the utterances on the sphere: ln of the mean of exp(-t * squared distance) over all pairs of them.

    Wang and Isola (2020); with t = 2 one half of contrastive equilibrium learning (Mun et al., 2020).

    Args:
        whole: [V, N, D], of length 1.
        sharpness: t.

    Returns:
        A scalar, the mean over views; 0 where there is no pair.
    """
    count = whole.shape[1]
    if count < 2:
        return whole.sum() * 0
    pairs = torch.ones(count, count, dtype=torch.bool, device=whole.device).triu(1)
    logs = 2 * sharpness * (whole @ whole.mT - 1)  # ||a - b||^2 = 2 - 2 cos
    total = torch.logsumexp(logs.masked_fill(~pairs, float("-inf")).flatten(1), dim=1)
    return (total - math.log(count * (count - 1) / 2)).mean()


def retrieved(views: Tensor, whole: Tensor, first: int) -> Tensor:
    """Share of the utterances whose first view is nearer to their own second view than to any other. For the history."""
    cosines = (views[0] @ whole[1].T).detach()
    return (cosines.argmax(dim=1) == _places(first, len(cosines), cosines)).float().mean()


def _places(first: int, count: int, like: Tensor) -> Tensor:
    return torch.arange(first, first + count, device=like.device)


def channel_invariance(clean: Tensor, augmented: Tensor) -> Tensor:
    """Mean squared distance between the embeddings of crops before and after augmentation (Zhang et al., 2021).

    Of embeddings of length 1, where the original has them as they are: so that shrinking them all does not lower the loss.

    Args:
        clean, augmented: [..., D], of length 1.

    Returns:
        A scalar, from 0 to 4.
    """
    return (clean - augmented).square().sum(dim=-1).mean()
