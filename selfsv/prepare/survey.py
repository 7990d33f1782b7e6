"""A look at a corpus in seconds: how many recordings, of what length, in how many sessions, and what will be rejected."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from selfsv.prepare.decoding import RATE
from selfsv.prepare.listing import enumerate_corpus
from selfsv.prepare.packing import decoded
from selfsv.settings.data import Corpus, DecodingSettings

SAMPLE = 200  # recordings that are decoded


class Survey(NamedTuple):
    """What is known of a corpus before it is packed."""

    recordings: int
    sessions: int  # 1 where they are not known
    speakers: int  # known from folders or a listing; 0: unknown
    seconds: np.ndarray  # [M] of the recordings of the sample that can be used
    samples: list[np.ndarray]  # these, [num_samples] int16 each
    rejected: Counter[str]  # reasons in the sample
    left_out: Counter[str]  # files with other endings

    @property
    def usable(self) -> int:
        """An estimate of how many recordings can be used."""
        looked_at = len(self.seconds) + self.rejected.total()
        return round(self.recordings * len(self.seconds) / max(looked_at, 1))

    @property
    def hours(self) -> float:
        """An estimate of their length altogether."""
        return self.usable * float(self.seconds.mean()) / 3600 if len(self.seconds) else 0.0


def survey(corpus: Corpus, settings: DecodingSettings, threads: int, seed: int = 1) -> Survey:
    """List the corpus, and decode a sample of it.

    Raises:
        InputError: as of `enumerate_corpus`.
    """
    files = enumerate_corpus(corpus)
    table = files.utterances
    chosen = np.sort(np.random.default_rng(seed).permutation(len(table))[:SAMPLE])
    found = list(decoded(table.iloc[chosen], settings, threads))
    samples = [samples for samples in found if not isinstance(samples, str)]
    rejected = Counter(reason.partition(":")[0] for reason in found if isinstance(reason, str))
    speakers = files.speakers["speaker"].nunique()
    seconds = np.array([len(recording) / RATE for recording in samples])
    return Survey(len(table), int(table["session"].nunique()), speakers, seconds, samples, rejected, files.left_out)
