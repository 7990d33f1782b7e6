"""How often a batch holds a speaker twice: the paper's reason for a method without negative pairs."""

import numpy as np


def repeat_probability(speakers: int, batch: int) -> float:
    """Probability that `batch` utterances, each of one of `speakers` equally likely speakers, repeat a speaker (paper Eq. 1).

    The factorials of Eq. 1 overflow, so the probability of no repeat is summed as logarithms.
    """
    if batch > speakers:
        return 1.0
    return float(-np.expm1(np.log1p(-np.arange(batch) / speakers).sum()))
