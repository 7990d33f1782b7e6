"""A look at a corpus in seconds: how many recordings, of what length, in how many sessions, and what will be rejected."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from selfsv.prepare.cutting import frame_energies, spans
from selfsv.prepare.decoding import RATE
from selfsv.prepare.listing import enumerate_corpus
from selfsv.prepare.packing import decoded
from selfsv.settings.data import Corpus, CutSettings, DecodingSettings

SAMPLE = 200  # recordings that are decoded
SAMPLE_HOURS = 2.0  # of them all: a sample of long recordings has fewer
# Between these quantiles of its frames' levels clean speech has some 30 dB, speech in as much white noise 6, and white noise 1.
QUIET_AND_LOUD, STEADY_DB = (0.1, 0.9), 4.0


class Survey(NamedTuple):
    """What is known of a corpus before it is packed."""

    recordings: int
    sessions: int  # 1 where they are not known
    speakers: int  # known from folders or a listing; 0: unknown
    seconds: np.ndarray  # [M] of the recordings of the sample that can be used
    samples: list[np.ndarray]  # these, [num_samples] int16 each
    rejected: Counter[str]  # reasons in the sample
    left_out: Counter[str]  # files with other endings
    cut_from: int | None = None  # usable recordings of the sample, where `seconds` and `samples` are utterances cut from them

    @property
    def looked_at(self) -> int:
        """How many recordings were tried."""
        return (len(self.seconds) if self.cut_from is None else self.cut_from) + self.rejected.total()

    @property
    def usable(self) -> int:
        """An estimate of how many utterances can be used: recordings, or what they are cut into."""
        return round(self.recordings * len(self.seconds) / max(self.looked_at, 1))

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
    chosen = np.random.default_rng(seed).permutation(len(table))[:SAMPLE]
    found = list(_first_hours(decoded(table.iloc[chosen], settings, threads), SAMPLE_HOURS))
    samples = [samples for samples in found if not isinstance(samples, str)]
    rejected = Counter(reason.partition(":")[0] for reason in found if isinstance(reason, str))
    speakers = files.speakers["speaker"].nunique()
    seconds = np.array([len(recording) / RATE for recording in samples])
    return Survey(len(table), int(table["session"].nunique()), speakers, seconds, samples, rejected, files.left_out)


def without_short(found: Survey, least: float) -> Survey:
    """The survey if recordings of less than `least` seconds were rejected."""
    long = found.seconds >= least
    rejected = found.rejected + Counter({"too short": int((~long).sum())})
    return found._replace(seconds=found.seconds[long], samples=[found.samples[index] for index in np.flatnonzero(long)], rejected=rejected)


def share_of_steady(samples: Sequence[np.ndarray]) -> float:
    """The share of recordings whose level hardly changes: of speech it does, between syllables and in pauses.

    Args:
        samples: of recordings, [num_samples] int16 each.
    """
    if not samples:
        return 0.0
    return float(np.mean([_level_range(recording) < STEADY_DB for recording in samples]))


def _level_range(recording: np.ndarray) -> float:
    """Decibels between the loud and the quiet frames of a recording."""
    low, high = np.quantile(frame_energies(recording), QUIET_AND_LOUD)
    return 10 * float(np.log10((high + 1) / (low + 1)))


def cut_up(found: Survey, cut: CutSettings) -> Survey:
    """The survey of the utterances that recordings are cut into: each recording is then a session of its own."""
    samples = [samples[start:end] for samples in found.samples for start, end in spans(samples, cut)]
    seconds = np.array([len(utterance) / RATE for utterance in samples])
    return found._replace(sessions=found.recordings, seconds=seconds, samples=samples, cut_from=len(found.samples))


def _first_hours(recordings: Iterator[np.ndarray | str], hours: float) -> Iterator[np.ndarray | str]:
    """`recordings` until they are so long together; the one that reaches it is the last."""
    left = hours * 3600 * RATE
    for recording in recordings:
        yield recording
        left -= 0 if isinstance(recording, str) else len(recording)
        if left <= 0:
            return
