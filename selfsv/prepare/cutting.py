"""Cuts a long recording of one talker into utterances, at its quietest places.

Silence is found by energy, with two thresholds below the recording's own level: what rises above the lower one is speech where it is
connected to something above the upper one. No model is needed, and the level of the recording does not matter. Where there is a
detector of speech, everything else counts as silence, music too.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from selfsv.prepare.decoding import RATE
from selfsv.prepare.speech_detection import MARGIN, SpeechDetector
from selfsv.settings.data import CutSettings

FRAME = RATE * 25 // 1000  # samples
FRAMES_PER_STEP = 2
STEP = FRAMES_PER_STEP * FRAME  # cuts are at multiples of 50 ms, so that two decimals of a second name the exact sample
AROUND = 8  # frames around a cut whose energy counts: a stop consonant is no pause
# The quantile of the frames' levels that stands for the recording's own: a click or a laugh does not change it. Where less than a
# twentieth is speech it is that of the silence, and nothing is left out.
LOUD = 0.95
HYSTERESIS_DB = 6.0
FRAMES_AT_ONCE = 1 << 14


class Span(NamedTuple):
    """A part of a recording, samples."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Samples."""
        return self.end - self.start


def detector_of(settings: CutSettings) -> SpeechDetector | None:
    """The network that finds speech; None where energy does.

    Raises:
        InputError: its package is missing.
    """
    return SpeechDetector() if settings.detector == "silero" else None


def spans(samples: NDArray[np.int16], settings: CutSettings, detector: SpeechDetector | None = None) -> list[Span]:
    """The utterances of a recording, in its order, none overlapping another.

    Each is as long as the settings allow. A recording that is not longer than an utterance may be is one, as it is. All speech is in
    them. Silence is left out where it is longer than the margin before and after speech, as far as the shortest length allows.

    Args:
        samples: [num_samples] at 16 kHz.
        detector: of speech; None: by energy.
    """
    shortest, longest = (round(RATE * seconds) for seconds in (settings.shortest_seconds, settings.longest_seconds))
    whole = Span(0, len(samples))
    if whole.length <= longest:
        return [whole]
    energies = frame_energies(samples)
    penalty = _threshold(energies, settings.silence_db)
    if detector is None:
        speech = is_speech(energies, settings.silence_db)
    else:
        speech = _frames_within(detector.stretches(samples), len(energies))
        energies = np.where(speech, energies, 0.0)  # between words any place is as good to cut at, whatever else sounds there
    spoken = _trimmed(speech, whole, shortest)
    if spoken is None:
        return []
    if spoken.length <= longest:
        return [spoken]
    first, steps = spoken.start // STEP, spoken.length // STEP
    # The last utterance gets what is left of a step, so the limits are rounded to the inside.
    quiet = _energy_at_steps(energies)[first : first + steps]
    cuts = quietest_cuts(quiet, steps, -(-shortest // STEP), (longest - STEP + 1) // STEP, penalty)
    edges = [spoken.start, *(spoken.start + STEP * cut for cut in cuts), spoken.end]
    pieces = (_trimmed(speech, Span(*edge), shortest) for edge in pairwise(edges))
    return [piece for piece in pieces if piece is not None]


def frame_energies(samples: NDArray[np.int16]) -> NDArray[np.float64]:
    """[num_samples // 400] mean square of each whole 25-ms frame around the frame's mean: an offset is no sound."""
    whole = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    blocks = (whole[start : start + FRAMES_AT_ONCE] for start in range(0, len(whole), FRAMES_AT_ONCE))
    return np.concatenate([np.empty(0), *(block.astype(np.float32).var(axis=1) for block in blocks)])


def is_speech(energies: NDArray[np.float64], silence_db: float) -> NDArray[np.bool_]:
    """[frames] whether each is speech: above the lower threshold, and connected to a frame above the upper one."""
    upper = _threshold(energies, silence_db)
    return ndimage.binary_propagation(energies > upper, mask=energies > upper * 10 ** (-HYSTERESIS_DB / 10))


def _frames_within(stretches: list[tuple[int, int]], frames: int) -> NDArray[np.bool_]:
    """[frames] whether each overlaps one of the stretches, samples."""
    within = np.zeros(frames, bool)
    for start, end in stretches:
        within[start // FRAME : -(-end // FRAME)] = True
    return within


def quietest_cuts(quiet: NDArray[np.float64], steps: int, shortest: int, longest: int, penalty: float) -> list[int]:
    """Where to cut `steps` steps into pieces of `shortest` to `longest` so that the energy at all cuts together is least.

    Dynamic programming over all ways to cut, so no cut is worse for having been chosen before the next one.

    Args:
        quiet: [steps] the energy where each step begins.
        shortest: steps of a piece at least; `longest` must be twice as many.
        longest: steps of a piece at most.
        penalty: of a cut as such, as an energy: among silences the fewest cuts win.

    Returns:
        Steps that begin a new piece, ascending.
    """
    least = np.full(steps + 1, np.inf)
    least[0] = 0.0
    before = np.zeros(steps + 1, np.int64)
    price = np.append(quiet + penalty, 0.0)
    for step in range(shortest, steps + 1):
        first = max(0, step - longest)
        before[step] = first + np.argmin(least[first : step - shortest + 1])
        least[step] = least[before[step]] + price[step]
    cuts = [int(before[steps])]
    while cuts[-1] > 0:
        cuts.append(int(before[cuts[-1]]))
    return cuts[-2::-1]


def _threshold(energies: NDArray[np.float64], silence_db: float) -> float:
    return float(np.quantile(energies, LOUD)) * 10 ** (-silence_db / 10)


def _energy_at_steps(energies: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean energy around the beginning of each step."""
    return ndimage.uniform_filter1d(energies, AROUND, mode="nearest")[::FRAMES_PER_STEP]


def _trimmed(speech: NDArray[np.bool_], span: Span, shortest: int) -> Span | None:
    """`span` without the silence at its ends but for a margin, and not shorter than `shortest`; None without speech.

    Its start stays a multiple of a step.
    """
    frames = np.flatnonzero(speech[span.start // FRAME : -(-span.end // FRAME)])
    if not len(frames):
        return None
    first, last = (span.start + FRAME * int(frame) for frame in (frames[0], frames[-1] + 1))
    start, end = max(span.start, (first - MARGIN) // STEP * STEP), min(span.end, -(-(last + MARGIN) // STEP) * STEP)
    if end - start < shortest:
        end = min(span.end, start + shortest)
        start = max(span.start, (end - shortest) // STEP * STEP)
    return Span(start, end)
