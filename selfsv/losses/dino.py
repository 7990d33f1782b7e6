"""The objective of CA-DINO: self-distillation and cosine consistency (paper III-A)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Pairing = Literal["short_to_long", "all_but_same"]


def teacher_probabilities(logits: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """The teacher's centred and sharpened output distributions (Eq. 3 and the text below it).

    Args:
        logits: [V, B, K] for V long views.
        centre: [K].
    """
    return torch.softmax((logits.float() - centre) / temperature, dim=-1)


def dino_loss(student_logits: Tensor, teacher: Tensor, temperature: float, pairing: Pairing) -> Tensor:
    """Cross-entropy of the student against the teacher, mean over pairs of views and the batch (Eq. 2).

    Args:
        student_logits: [S, B, K]; under `all_but_same` the first V views are the teacher's.
        teacher: [V, B, K] probabilities.
        temperature: of the student.
        pairing: `short_to_long` sets every given student view against every teacher view (the caller gives the short
            ones); `all_but_same` leaves out a view against itself.

    Returns:
        A scalar, in nats.
    """
    log_student = F.log_softmax(student_logits.float() / temperature, dim=-1)
    views, batch = len(teacher), teacher.shape[1]
    pairs = views * len(log_student)
    # The sum over all pairs factorises; it costs one product of size [B, K] instead of one per pair.
    total = -(teacher.sum(dim=0) * log_student.sum(dim=0)).sum()
    if pairing == "all_but_same":
        total = total + (teacher * log_student[:views]).sum()
        pairs -= views
    return total / (pairs * batch)


@torch.no_grad()
def agreement(student_logits: Tensor, teacher: Tensor, pairing: Pairing) -> Tensor:
    """How often the student's first choice of prototype is the teacher's: a share of the pairs of views and the batch, scalar.

    Args:
        student_logits, teacher, pairing: as of `dino_loss`.
    """
    chosen, target = student_logits.argmax(dim=-1), teacher.argmax(dim=-1)
    same = (target.unsqueeze(1) == chosen).float().mean(dim=-1)  # [V, S]
    if pairing == "short_to_long":
        return same.mean()
    return (same.sum() - same.diagonal().sum()) / (same.numel() - len(teacher))


def cosine_consistency(embeddings: Tensor, long_views: int) -> Tensor:
    """1 - cosine between each long crop and every other crop of the same item, mean over pairs and the batch (Eq. 5).

    Eq. 5 also counts each long crop against itself, which adds nothing; it is left out of the mean.

    Args:
        embeddings: [S, B, D] of the student, long views first.
    """
    unit = F.normalize(embeddings, dim=-1)
    cosines = torch.einsum("lbd,sbd->lsb", unit[:long_views], unit)
    # Picked by index, not by a mask on the device: how much a mask picks would have to be waited for.
    others = torch.nonzero(~torch.eye(long_views, len(unit), dtype=torch.bool)).to(unit.device, non_blocking=True)
    return (1 - cosines[others[:, 0], others[:, 1]]).mean()


def entropy(probabilities: Tensor) -> Tensor:
    """Mean entropy of distributions over the last dimension, nats."""
    return torch.special.entr(probabilities).sum(dim=-1).mean()


@torch.no_grad()
def updated_centre(centre: Tensor, teacher_logits: Tensor, momentum: float) -> Tensor:
    """The centre moved towards the batch's mean teacher logits: [K] and [..., K] to [K]."""
    return centre.lerp(teacher_logits.float().flatten(0, -2).mean(dim=0), 1 - momentum)
