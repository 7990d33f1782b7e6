"""The first and the last third of recordings: two utterances that are known to be one speaker's, without any label."""

import numpy as np

from selfsv.data.features import SAMPLE_RATE
from selfsv.engine.extraction import Utterances

FIRST, LAST = 0, 1
MOST_RECORDINGS = 2000  # enough for an error rate, and minutes on a CPU whatever the corpus's size
SHORTEST, LONGEST = 1 * SAMPLE_RATE, 10 * SAMPLE_RATE  # samples of a part
SEED = 0  # not the experiment's: all rounds and all seeds of a corpus are measured on the same recordings


def chosen_recordings(num_samples: np.ndarray, most: int = MOST_RECORDINGS) -> np.ndarray:
    """[M] positions, ascending, of at most `most` recordings whose thirds are long enough, drawn at random.

    Args:
        num_samples: [N], the lengths of all recordings.
    """
    usable = np.flatnonzero(np.asarray(num_samples) // 3 >= SHORTEST)
    if len(usable) <= most:
        return usable
    return np.sort(np.random.default_rng(SEED).choice(usable, most, replace=False))


class RecordingParts:
    """The first and the last third of chosen recordings as 2M utterances: all first parts, then all last ones.

    A third of more than `LONGEST` is cut to the end that is farther from the other part.

    Args:
        recordings: where the parts come from.
        chosen: [M] their positions there.
    """

    def __init__(self, recordings: Utterances, chosen: np.ndarray):
        self._recordings = recordings
        lengths = np.minimum(recordings.num_samples[chosen] // 3, LONGEST)
        self.recording = np.tile(chosen, 2)
        self.part = np.repeat([FIRST, LAST], len(chosen))
        self.num_samples = np.tile(lengths, 2)

    def samples(self, index: int) -> np.ndarray:
        """[num_samples] int16 of one part."""
        samples, length = self._recordings.samples(int(self.recording[index])), int(self.num_samples[index])
        return samples[:length] if self.part[index] == FIRST else samples[-length:]
