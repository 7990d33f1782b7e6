"""Mean-entropy maximisation: students that use all prototypes (me-max; Assran et al., 2021, Eq. 2; SDPN)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def mean_entropy(probabilities: Tensor, add_up: Callable[[Tensor], Tensor] = lambda part: part) -> Tensor:
    """ln K minus the entropy of the batch's mean output: 0 where all prototypes are used alike, ln K where one is.

    Args:
        probabilities: [..., K], all rows of this process.
        add_up: sums a tensor over the processes that share the batch, with gradients.

    Returns:
        A scalar, nats, of the whole batch in every process.
    """
    rows = probabilities.float().flatten(0, -2)
    count, total = add_up(torch.cat([rows.new_full((1,), len(rows)), rows.sum(dim=0)])).split([1, rows.shape[1]])
    return math.log(rows.shape[1]) - torch.special.entr(total / count).sum()
