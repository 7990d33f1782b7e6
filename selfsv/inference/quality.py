"""How good a recording is for a decision: seconds of speech, clipping, an estimate of the signal-to-noise ratio.

Frames of 10 ms. The noise is the mean power of the tenth of the frames with the least. Speech is every frame that is at most 30 dB below
the loudest twentieth and at least 6 dB above the noise [ours]. It is an estimate: steady sounds count as noise, music as speech, and a
recording without pauses has too low a ratio. No decision depends on it.
"""

from typing import NamedTuple

import numpy as np

FRAME = 160  # samples at 16 kHz
QUIETEST, LOUDEST = 0.10, 0.95  # quantiles of the frames' power
RANGE_DB, ABOVE_NOISE_DB = 30.0, 6.0
HIGHEST_SNR_DB = 60.0  # of digital silence between the words; 16 bits hold no more
CLIPPED_RUN = 3  # samples in a row at the peak
LITTLE_SPEECH, LOW_SNR_DB, MUCH_CLIPPED = 2.0, 10.0, 0.001  # seconds, dB, share of samples: below or above them a note says so
BLOCK = 1 << 20  # samples converted at once


class Quality(NamedTuple):
    """Of one recording."""

    speech_seconds: float
    snr_db: float
    clipped: float  # share of the samples

    def doubts(self) -> list[str]:
        """What speaks against a decision on this recording."""
        return [
            *([f"only {self.speech_seconds:.1f} s of speech"] if self.speech_seconds < LITTLE_SPEECH else []),
            *([f"noisy, about {self.snr_db:.0f} dB"] if self.snr_db < LOW_SNR_DB else []),
            *([f"clipped, {100 * self.clipped:.1f} % of the samples"] if self.clipped > MUCH_CLIPPED else []),
        ]

    def text(self) -> str:
        """A few words."""
        return f"{self.speech_seconds:.1f} s of speech, SNR about {self.snr_db:.0f} dB, {100 * self.clipped:.2g} % clipped"


def quality_of(samples: np.ndarray, speech_seconds: float | None = None) -> Quality:
    """The quality of a waveform, [N] int16 of 16 kHz, one frame at least. Memory grows with N / 160.

    Args:
        speech_seconds: as a detector has found them; None: estimated by energy.
    """
    power = frame_power(samples)
    noise = float(np.mean(np.sort(power)[: max(1, round(QUIETEST * len(power)))]))
    loud = float(np.quantile(power, LOUDEST))
    speech = power[(power >= loud * 10 ** (-RANGE_DB / 10)) & (power >= noise * 10 ** (ABOVE_NOISE_DB / 10)) & (power > 0)]
    ratio = max(float(speech.mean()) - noise, 0.0) / max(noise, 1e-12) if len(speech) else 0.0
    snr = float(np.clip(10 * np.log10(max(ratio, 1e-2)), -20.0, HIGHEST_SNR_DB))
    seconds = len(speech) * FRAME / 16_000 if speech_seconds is None else speech_seconds
    return Quality(seconds, snr, clipped_share(samples))


def frame_power(samples: np.ndarray) -> np.ndarray:
    """[N // 160] float64, the mean square of each frame, less its mean."""
    count = max(1, len(samples) // FRAME)
    power = np.empty(count)
    for start in range(0, count, BLOCK // FRAME):
        rows = samples[start * FRAME : (start + BLOCK // FRAME) * FRAME]
        frames = rows[: max(1, len(rows) // FRAME) * FRAME].astype(np.float64).reshape(-1, min(FRAME, len(rows)))
        power[start : start + len(frames)] = frames.var(axis=1)
    return power


def clipped_share(samples: np.ndarray) -> float:
    """The share of the samples that are the recording's highest or lowest value, three or more in a row."""
    clipped = 0
    for extreme in (samples.max(), samples.min()):
        at_peak = np.flatnonzero(samples == extreme)
        ends = np.append(np.flatnonzero(np.diff(at_peak) > 1) + 1, len(at_peak))
        lengths = np.diff(ends, prepend=0)  # of the runs of neighbours
        clipped += int(lengths[lengths >= CLIPPED_RUN].sum())
    return min(1.0, clipped / len(samples))
