"""Momentum contrast (MoCo; He et al., 2020, Eq. 1): negatives are keys of earlier batches, kept in a queue."""

import torch
import torch.nn.functional as F
from torch import Tensor

EMPTY = -1  # the number of a place of the queue that holds no key yet


def momentum_contrast(
    queries: Tensor, keys: Tensor, queue: Tensor, utterances: Tensor, queued: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Each query has to find its key among those of the queue.

    Keys of the query's own utterance are left out: in a queue as long as a small corpus every utterance is there, too.

    Args:
        queries: [B, D], of length 1.
        keys: [B, D], likewise: the positive of each query, without gradient.
        queue: [K, D], likewise.
        utterances: [B] int64, whose the queries are.
        queued: [K] int64, whose the queue's keys are, or `EMPTY`.
        temperature: T.

    Returns:
        The loss, nats, and the share of queries that find their key; scalars.
    """
    left_out = (queued == utterances.unsqueeze(1)) | (queued == EMPTY)
    negatives = (queries @ queue.T).masked_fill(left_out, float("-inf"))
    positives = (queries * keys).sum(dim=1, keepdim=True)
    logits = torch.cat([positives, negatives], dim=1) / temperature
    found = (logits.detach().argmax(dim=1) == 0).float().mean()
    return F.cross_entropy(logits, utterances.new_zeros(len(queries))), found
