"""The bank of additive noise: segments of four kinds, recorded where there are recordings, synthesised where not."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from selfsv.data.banks import NOISE_KINDS
from selfsv.data.corpus import PackedCorpus
from selfsv.parallel import ordered_map
from selfsv.prepare.containers import RejectionError
from selfsv.prepare.decoding import FULL_SCALE, RATE
from selfsv.prepare.reading import Samples
from selfsv.prepare.recorded import LONGEST, SHORTEST, Excerpt, excerpts, musan_files
from selfsv.prepare.synthesis import chords, coloured_noise, mixture
from selfsv.settings.data import NoiseSettings

LOG = logging.getLogger("selfsv")

PEAK = 0.5  # of full scale, of every segment
# Mixtures of a few tracks can be drawn without end, but soon bring nothing new: at most this many times the tracks' own number.
MIXTURES_PER_TRACK = 8
TRACKS_IN_MEMORY = 128  # decoded, per kind: at most 100 MB


@dataclass(frozen=True)
class Source:
    """Tracks of one kind that segments are made of.

    Attributes:
        size: how many different tracks there are.
        track: the track of a number below `size`, [num_samples] float32; raises `RejectionError` where it cannot be read.
    """

    size: int
    track: Callable[[int], Samples]

    def draw(self, rng: np.random.Generator) -> Samples:
        """A track at random."""
        return self.track(int(rng.integers(self.size)))


def recorded_sources(settings: NoiseSettings, seed: int, threads: int) -> dict[str, Source]:
    """The kinds that the MUSAN tree at `settings.path` has, out of noise, music and speech."""
    sources = {}
    for number, (kind, paths) in enumerate(musan_files(str(settings.path)).items()):
        cuts = excerpts(paths, settings.minutes_per_kind * 60, np.random.default_rng([seed, number]), threads)
        if cuts:
            sources[kind] = Source(len(cuts), lru_cache(TRACKS_IN_MEMORY)(partial(_excerpt, cuts)))
    return sources


def _excerpt(cuts: list[Excerpt], index: int) -> Samples:
    return cuts[index].samples()


def synthetic_sources(settings: NoiseSettings, seed: int) -> dict[str, Source]:
    """Coloured noise and chords."""
    size = int(settings.minutes_per_kind * 60 / SHORTEST) + 1
    return {kind: Source(size, partial(_synthesise, kind, seed)) for kind in ("noise", "music")}


def _synthesise(kind: str, seed: int, index: int) -> Samples:
    rng = np.random.default_rng([seed, NOISE_KINDS.index(kind), index])
    seconds = rng.uniform(SHORTEST, LONGEST)
    return coloured_noise(seconds, rng) if kind == "noise" else chords(seconds, rng)


def corpus_source(corpus: PackedCorpus) -> Source:
    """The utterances of a packed corpus as speech, without any label of theirs."""
    longest = round(LONGEST * RATE)
    return Source(len(corpus), lambda index: corpus.crop(index, 0.5, min(longest, len(corpus.samples(index)))).astype(np.float32))


def noise_segments(sources: dict[str, Source], settings: NoiseSettings, seed: int, threads: int) -> Iterator[tuple[str, NDArray[np.int16]]]:
    """Kind and samples of every segment, at most `minutes_per_kind` of a kind (and a part of one segment).

    noise and music are the sources' tracks; babble sums several tracks of speech; television is music and one voice.
    The result does not depend on the number of `threads`.
    """
    limit = round(settings.minutes_per_kind * 60 * RATE)
    for kind, make in _makers(sources, settings, seed).items():
        total = 0
        for segment in ordered_map(partial(_made, make), _numbers(kind, sources), threads):
            if segment is None:
                continue
            yield kind, segment
            total += len(segment)
            if total >= limit:
                break


Maker = Callable[[int], Samples]


def _makers(sources: dict[str, Source], settings: NoiseSettings, seed: int) -> dict[str, Maker]:
    makers: dict[str, Maker] = {kind: sources[kind].track for kind in ("noise", "music") if kind in sources}
    if "speech" in sources:
        makers["babble"] = partial(_babble, sources["speech"], settings.babble_talkers, seed)
    if "speech" in sources and "music" in sources:
        makers["television"] = partial(_television, sources["music"], sources["speech"], seed)
    return makers


def _numbers(kind: str, sources: dict[str, Source]) -> range:
    parts = {"babble": ("speech",), "television": ("music", "speech")}.get(kind)
    return range(sources[kind].size) if parts is None else range(MIXTURES_PER_TRACK * min(sources[part].size for part in parts))


def _babble(speech: Source, talkers: tuple[int, int], seed: int, index: int) -> Samples:
    rng = np.random.default_rng([seed, NOISE_KINDS.index("babble"), index])
    number = int(rng.integers(talkers[0], talkers[1] + 1))
    tracks = [speech.track(int(pick)) for pick in rng.choice(speech.size, number, replace=speech.size < number)]
    return mixture(tracks, rng.uniform(SHORTEST, LONGEST), rng)


def _television(music: Source, speech: Source, seed: int, index: int) -> Samples:
    rng = np.random.default_rng([seed, NOISE_KINDS.index("television"), index])
    return mixture([music.draw(rng), speech.draw(rng)], rng.uniform(SHORTEST, LONGEST), rng)


def _made(make: Maker, index: int) -> NDArray[np.int16] | None:
    try:
        return finished_segment(make(index))
    except RejectionError as rejection:
        LOG.warning("left out a segment of the noise bank: %s", rejection)
        return None


def finished_segment(samples: Samples) -> NDArray[np.int16]:
    """`samples` repeated to 4 s where shorter, its peak half of full scale: [num_samples] int16."""
    shortest = round(SHORTEST * RATE)
    peak = float(np.max(np.abs(samples), initial=0.0))
    if peak == 0:
        raise RejectionError("silent")
    scaled = np.rint(samples * (PEAK * FULL_SCALE / peak)).astype(np.int16)
    return scaled if len(scaled) >= shortest else np.resize(scaled, shortest)
