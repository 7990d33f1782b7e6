"""KoLeo: embeddings that keep away from their nearest neighbours (Sablayrolles et al., 2019, Eq. 5; DINOv2)."""

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST = 1e-8


def koleo(views: Tensor, whole: Tensor, first: int) -> Tensor:
    """Minus the logarithm of the distance to the nearest other utterance, on the unit sphere.

    It estimates the entropy of the embeddings, up to sign and constants (Kozachenko and Leonenko, 1987).

    Args:
        views: [V, B, D] of this process, of any length.
        whole: [V, N, D], likewise, of all processes.
        first: place of the first own utterance among the N.

    Returns:
        A scalar: the mean over the own utterances, the sum over views; 0 where there is no other utterance.
    """
    if whole.shape[1] < 2:
        return views.sum() * 0
    own, others = F.normalize(views.float(), dim=-1), F.normalize(whole.float(), dim=-1)
    with torch.no_grad():
        itself = torch.arange(first, first + own.shape[1], device=own.device).view(1, -1, 1).expand(len(own), -1, 1)
        nearest = (own @ others.mT).scatter_(2, itself, float("-inf")).argmax(dim=2, keepdim=True)
    distances = torch.linalg.vector_norm(own - others.gather(1, nearest.expand(-1, -1, own.shape[2])), dim=2)
    return -torch.log(distances + SMALLEST).mean(dim=1).sum()
