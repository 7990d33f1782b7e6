"""Long recordings, cut into pieces that an encoder sees at once. Needs numpy alone: see `selfsv.inference.onnx_model`."""

from typing import NamedTuple

import numpy as np

LONGEST_PIECE = 120 * 16_000  # samples at 16 kHz; the paper's encoder takes 0.6 GB for it on a CPU


class Pieces(NamedTuple):
    """Parts of utterances that an encoder sees at once; P of them, [P] int64 each, in the utterances' order."""

    utterance: np.ndarray
    start: np.ndarray  # samples
    length: np.ndarray  # samples


def pieces_of(num_samples: np.ndarray) -> Pieces:
    """Utterances of these lengths ([N], samples), cut where they are longer than `LONGEST_PIECE`.

    An utterance has as few pieces as it can; their lengths differ by one sample at most.
    """
    num_samples = np.asarray(num_samples, np.int64)
    counts = np.maximum(-(-num_samples // LONGEST_PIECE), 1)
    utterance = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(utterance)) - np.repeat(np.cumsum(counts) - counts, counts)  # of a piece in its utterance
    start, end = ((number + more) * num_samples[utterance] // counts[utterance] for more in (0, 1))
    return Pieces(utterance, start, end - start)
