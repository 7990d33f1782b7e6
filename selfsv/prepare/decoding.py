"""One audio file, whatever its format, rate and channels, to 16 kHz mono int16, or the reason why not.

Channels are averaged, or one of them is taken; then the sound is resampled, block by block, so that memory grows with what is
kept. Resampling is a polyphase filter of scipy's: it needs no start-up of Torch in a decoding process, is exact for any pair of
rates, and with the long Kaiser window below its aliases stay under -100 dB.
"""

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from selfsv.prepare import reading
from selfsv.prepare.containers import RejectionError, told_apart
from selfsv.prepare.reading import Block, Samples, read_blocks

RATE = 16000  # Hz
PACKED_BYTES_PER_SECOND = 2 * RATE  # int16
FULL_SCALE = 32767
LONGEST_HOURS = 5.0  # of one file, a gigabyte at 16 kHz: a few megabytes of compressed silence can hold days
LOWEST_RATE = 1000  # Hz
WIDEST_RATIO = 50_000  # of a rate in lowest terms with 16 kHz: every real rate stays below, and filters stay small
RESAMPLED_AT_ONCE = 1 << 20  # samples
# Unrelated channels of equal power leave 1 / channels of it in their mean. Where less than a tenth of that is left, they cancel.
CANCELLED = 0.1
ALL_CHANNELS = 0

# The window and width of librosa's and resampy's "kaiser_best".
KAISER_BETA = 14.77
ZERO_CROSSINGS = 64
ROLLOFF = 0.9476


def load_utterance(path: str, *, min_seconds: float, min_peak: float, channel: int = ALL_CHANNELS, speed: float = 1.0) -> NDArray[np.int16]:
    """The samples of the file at `path`: [num_samples] int16, 16 kHz, mono.

    Args:
        min_seconds: least duration, seconds.
        min_peak: least deviation from the mean, as a fraction of full scale.
        channel: which one to read, from 1; 0: the mean of all, see `decode`.
        speed: how much faster, and higher, than it was recorded; to two decimals.

    Raises:
        RejectionError: the file is missing, empty, not audio, truncated, too short, too long, silent, lacks the channel, or has
            samples that are not finite.
    """
    samples = decode(path, channel=channel)
    if len(samples) < min_seconds * RATE:
        seconds, _ = told_apart(len(samples) / RATE, min_seconds)
        raise RejectionError(f"too short: {seconds} s, less than {min_seconds:g} s")
    peak = float(np.max(np.abs(samples - samples.mean())))
    if peak < min_peak or peak * FULL_SCALE < 1:
        raise RejectionError(f"silent: never exceeds {peak:.2g} of full scale")
    if speed != 1.0:
        samples = resample(samples, round(100 * speed) * RATE // 100)
    return to_int16(samples)


def decode(path: str, *, start: float = 0.0, seconds: float | None = None, channel: int = ALL_CHANNELS) -> Samples:
    """The file at `path` as 16 kHz mono, [num_samples] float32, full scale 1.

    Args:
        start: where to begin, seconds; `start` and `seconds` are only as exact as the file's rate allows.
        seconds: how much to read; None: to the end.
        channel: which one to read, from 1; 0: the mean of all, or the loudest where they cancel each other in the mean
            (stereo recorded out of phase).

    Raises:
        RejectionError: it is missing, empty, not audio, truncated, too long, of an unusable rate, lacks the channel, or is not
            finite.
    """
    mix = Mix(channel)
    samples = _mono(path, start, seconds, mix)
    if mix.cancelled:
        # Known at the end only. Reading once more is rare, and holding every channel of every file would not be.
        samples = _mono(path, start, seconds, Mix(channel, mix.cancelled))
    return samples


def seconds_of(path: str) -> float:
    """The duration of the file at `path`, seconds: by its header where that knows it, else by decoding it.

    Raises:
        RejectionError: it is missing, empty, not audio, truncated or too long.
    """
    seconds = reading.seconds_of(path)
    return len(decode(path)) / RATE if seconds is None else seconds


def to_int16(samples: Samples) -> NDArray[np.int16]:
    """Rounded to 16 bits, so that 16-bit files stay as they are; what goes beyond full scale is scaled down as a whole, not clipped."""
    peak = float(np.max(np.abs(samples), initial=0.0))
    return np.rint(np.clip(samples * (32768 / max(peak, 1.0)), -32768, FULL_SCALE)).astype(np.int16)


def _mono(path: str, start: float, seconds: float | None, mix: "Mix") -> Samples:
    pieces: list[Samples] = []
    total = 0
    blocks = read_blocks(path, start)
    if seconds is not None:
        blocks = _first(blocks, seconds)
    # A file joined from several may change its rate or channels; what has one of both is resampled without a seam.
    for (rate, _), part in groupby(blocks, lambda block: (block.rate, block.samples.shape[1])):
        for piece in resampled(mix(block.samples for block in part), rate):
            pieces.append(piece)
            total += len(piece)
            if total > LONGEST_HOURS * 3600 * RATE:
                raise RejectionError(f"too long: more than {LONGEST_HOURS:g} hours; cut it into shorter files")
    return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty(0, np.float32), *pieces])


def _first(blocks: Iterator[Block], seconds: float) -> Iterator[Block]:
    """The first `seconds` of `blocks`."""
    for samples, rate in blocks:
        wanted = round(seconds * rate)
        yield Block(samples[:wanted], rate)
        seconds -= len(samples) / rate
        if wanted <= len(samples):
            return


# --- channels --------------------------------------------------------------------------------------------------------


class Mix:
    """Makes one channel of several, part by part of a file.

    Args:
        channel: the one to take, from 1; 0: the mean of all.
        loudest: channels to take instead of the mean, by the number of the part, from 0.

    Attributes:
        cancelled: the loudest channel of every part seen so far whose channels cancel each other in the mean.
    """

    def __init__(self, channel: int = ALL_CHANNELS, loudest: Mapping[int, int] | None = None):
        self._channel, self._loudest = channel, loudest or {}
        self._parts = 0
        self.cancelled: dict[int, int] = {}

    def __call__(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        """Each of `blocks` ([num_samples, channels], of one part) as [num_samples].

        Raises:
            RejectionError: there is no such channel, or it holds NaN or infinite samples.
        """
        part, self._parts = self._parts, self._parts + 1
        channel = self._loudest.get(part, self._channel)
        levels = Levels()
        for samples in blocks:
            mono = to_mono(samples, channel)
            if not np.isfinite(mono).all():
                raise RejectionError("not finite: holds NaN or infinite samples")
            if samples.shape[1] > 1 and channel == ALL_CHANNELS:
                levels.add(samples)
            yield mono
        if levels.cancel:
            self.cancelled[part] = levels.loudest


class Levels:
    """The energy of the channels, and how much of it is left in their mean."""

    def __init__(self) -> None:
        self._count = 0
        self._sums: Any = 0.0
        self._products: Any = 0.0

    def add(self, samples: Samples) -> None:
        """Count in a block [num_samples, channels]."""
        self._count += len(samples)
        self._sums = self._sums + samples.sum(axis=0, dtype=np.float64)
        self._products = self._products + (samples.T @ samples).astype(np.float64)

    @property
    def _covariance(self) -> NDArray[np.float64]:
        mean = self._sums / self._count
        return self._products / self._count - np.outer(mean, mean)

    @property
    def cancel(self) -> bool:
        """Whether the mean has far less power than even unrelated channels would leave."""
        if not self._count:
            return False
        covariance = self._covariance
        return bool(covariance.mean() * len(covariance) < CANCELLED * np.diag(covariance).mean())

    @property
    def loudest(self) -> int:
        """The number of the channel with the greatest power, from 1."""
        return int(np.argmax(np.diag(self._covariance))) + 1


def to_mono(samples: Samples, channel: int = ALL_CHANNELS) -> Samples:
    """One channel, counted from 1, of `samples` [num_samples, channels], or the mean of all (0): [num_samples].

    Raises:
        RejectionError: there is no such channel.
    """
    channels = samples.shape[1]
    if channel > channels:
        raise RejectionError(f"no such channel: {channel} is asked for, and the file has {channels}")
    if channels == 1:
        return samples[:, 0]
    return samples.mean(axis=1) if channel == ALL_CHANNELS else np.ascontiguousarray(samples[:, channel - 1])


# --- resampling ------------------------------------------------------------------------------------------------------


def resample(samples: Samples, rate: int) -> Samples:
    """`samples` [num_samples] at `rate` Hz brought to 16 kHz: [ceil(num_samples × 16000 / rate)].

    Raises:
        RejectionError: the rate is none that speech is recorded at.
    """
    return np.concatenate([np.empty(0, np.float32), *resampled(iter([samples]), rate)]) if len(samples) else samples


def resampled(blocks: Iterator[Samples], rate: int) -> Iterator[Samples]:
    """Consecutive `blocks` [n] at `rate` Hz brought to 16 kHz: the same samples as of all blocks at once, in blocks of their own.

    Raises:
        RejectionError: the rate is none that speech is recorded at.
    """
    if rate == RATE:
        yield from blocks
        return
    divisor = math.gcd(rate, RATE)
    up, down = RATE // divisor, rate // divisor
    if rate < LOWEST_RATE or max(up, down) > WIDEST_RATIO:
        raise RejectionError(f"unusable rate: {rate} Hz")
    # What the filter sees on either side of a sample, in whole periods of its phases: there two blocks join without a trace.
    reach = math.ceil(ZERO_CROSSINGS * max(up, down) / up / down) * down + down
    window = _low_pass(up, down)
    waiting = np.empty(0, np.float32)
    done = 0  # samples at the beginning of `waiting` that are resampled already
    for block in blocks:
        waiting = np.concatenate([waiting, block])
        if len(waiting) >= max(RESAMPLED_AT_ONCE, done + 2 * reach + down):
            ready = (len(waiting) - reach) // down * down
            yield _polyphase(waiting, up, down, window)[done // down * up : ready // down * up]
            waiting, done = waiting[ready - reach :], reach
    if len(waiting):
        yield _polyphase(waiting, up, down, window)[done // down * up :]


# scipy's polyphase filter. soxr at its best is twenty times as fast, but 76 dB from an ideal resampler at 44.1 kHz, where this is 130.
def _polyphase(samples: Samples, up: int, down: int, window: NDArray[np.float32]) -> Samples:
    return signal.resample_poly(samples, up, down, window=window).astype(np.float32, copy=False)


@lru_cache(maxsize=32)
def _low_pass(up: int, down: int) -> NDArray[np.float32]:
    widest = max(up, down)
    return signal.firwin(2 * ZERO_CROSSINGS * widest + 1, ROLLOFF / widest, window=("kaiser", KAISER_BETA)).astype(np.float32)
