"""Recorded augmentation sources: noise, music and speech of a MUSAN tree, impulse responses of a RIRS_NOISES tree."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from selfsv.errors import InputError
from selfsv.parallel import ordered_map
from selfsv.prepare.containers import RejectionError
from selfsv.prepare.decoding import decode, seconds_of
from selfsv.prepare.listing import enumerate_corpus
from selfsv.prepare.reading import Samples
from selfsv.settings.data import Corpus

LOG = logging.getLogger("selfsv")

SHORTEST = 4.0  # seconds of a segment in the bank; shorter recordings are repeated
LONGEST = 12.0
LEAST = 0.05  # seconds; a recording shorter than this is no noise
KINDS = ("noise", "music", "speech")


@dataclass(frozen=True)
class Excerpt:
    """A stretch of an audio file, in seconds."""

    path: str
    start: float
    seconds: float

    def samples(self) -> Samples:
        """[num_samples] float32, 16 kHz mono.

        Raises:
            RejectionError: the file cannot be read, or the stretch is silent or not finite.
        """
        samples = decode(self.path, start=self.start, seconds=self.seconds)
        if not samples.any():
            raise RejectionError(f"silent from {self.start:.2f} s on: {self.path}")
        return samples


def musan_files(root: str) -> dict[str, list[str]]:
    """The audio files below `root` by kind: a file is of the kind of the first folder called noise, music or speech above it.

    Raises:
        InputError: `root` is missing or holds no such file.
    """
    files: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for path in _audio_files(root, "noise.path"):
        kind = next((part for part in PurePath(path).relative_to(root).parent.parts if part in KINDS), None)
        if kind:
            files[kind].append(path)
    if not any(files.values()):
        folders = ", ".join(f"{kind}/" for kind in KINDS)
        raise InputError(f"{root} has no folder {folders} with audio: point `noise.path` at a MUSAN tree, or leave it empty")
    return files


def excerpts(paths: list[str], limit: float, rng: np.random.Generator, threads: int) -> list[Excerpt]:
    """Stretches of 4 to 12 s from as many of the files as possible, `limit` seconds of them or a little more.

    Every file gives one stretch before any gives a second; where a header knows the duration only that is read, and only of as
    many files as needed.
    """
    shuffled = [paths[index] for index in rng.permutation(len(paths))]
    durations = dict(_durations(shuffled, threads, limit))
    cuts = [_cut(path, seconds, rng) for path, seconds in durations.items()]
    chosen: list[Excerpt] = []
    total = 0.0
    for turn in range(max(map(len, cuts), default=0)):
        for pieces in cuts:
            if turn < len(pieces) and total < limit:
                chosen.append(pieces[turn])
                total += max(pieces[turn].seconds, SHORTEST)
    return chosen


def _cut(path: str, seconds: float, rng: np.random.Generator) -> list[Excerpt]:
    pieces = _pieces(seconds)
    return [Excerpt(path, seconds * piece / pieces, seconds / pieces) for piece in rng.permutation(pieces).tolist()]


def _pieces(seconds: float) -> int:
    return max(1, math.ceil(seconds / LONGEST))


def _durations(paths: list[str], threads: int, limit: float) -> Iterator[tuple[str, float]]:
    """Path and duration of each usable file, until one stretch of each is enough."""
    total = 0.0
    for path, result in zip(paths, ordered_map(_duration, paths, threads), strict=False):
        if isinstance(result, str):
            LOG.warning("left out %s: %s", path, result)
            continue
        yield path, result
        total += max(result / _pieces(result), SHORTEST)
        if total >= limit:
            return


def _duration(path: str) -> float | str:
    try:
        seconds = seconds_of(path)
    except RejectionError as rejection:
        return str(rejection)
    return seconds if seconds >= LEAST else "too short"


def response_files(root: str) -> list[str]:
    """The impulse responses below `root`: those of `simulated_rirs/` where there is one, else all but the recordings of noise.

    Raises:
        InputError: `root` is missing or holds none.
    """
    files = _audio_files(root, "rirs.path")
    inside = {path: PurePath(path).relative_to(root).parts for path in files}
    simulated = [path for path, parts in inside.items() if "simulated_rirs" in parts]
    chosen = simulated or [path for path, parts in inside.items() if "pointsource_noises" not in parts and "noise" not in parts[-1].lower()]
    if not chosen:
        raise InputError(f"{root} holds no impulse responses: point `rirs.path` at a RIRS_NOISES tree, or leave it empty")
    return chosen


def recorded_responses(root: str, limit: int, rng: np.random.Generator, threads: int) -> Iterator[Samples]:
    """At most `limit` impulse responses of the tree at `root`, drawn from all over it: each [num_samples] float32, 16 kHz."""
    files = response_files(root)
    chosen = sorted(rng.permutation(len(files))[:limit])
    paths = [files[index] for index in chosen]
    for path, result in zip(paths, ordered_map(_response, paths, threads), strict=True):
        if isinstance(result, str):
            LOG.warning("left out %s: %s", path, result)
        else:
            yield result


def _response(path: str) -> Samples | str:
    try:
        # One microphone of an array: a mean over channels would be a comb filter.
        response = decode(path, channel=1)
    except RejectionError as rejection:
        return str(rejection)
    return response if response.any() else "silent"


def _audio_files(root: str, key: str) -> list[str]:
    try:
        result = enumerate_corpus(Corpus(layout="folder", path=root)).utterances
    except InputError as error:
        raise InputError(f"`{key}`: {error}") from None
    return result.loc[result["reason"] == "", "path"].tolist()
