"""Additive noise and reverberation, batched on the training device (paper V-C).

A worker draws how each crop is augmented when it cuts the crop: a few numbers, on the CPU. They are carried out here.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from selfsv.data.banks import Bank
from selfsv.settings.audio import AugmentationSettings

FULL_SCALE = 32768.0
SMALLEST_POWER = 1e-10
NOTHING = -1
ROWS = 64


class AugmentationParams(NamedTuple):
    """The augmentation of each crop; all of one shape, one entry per crop."""

    noise: Tensor  # int64, segment of the noise bank, or NOTHING
    start: Tensor  # float32 in [0, 1), where in that segment
    snr_db: Tensor  # float32
    rir: Tensor  # int64, response of the RIR bank, or NOTHING


class AugmentationSampler:
    """Draws how crops are augmented. Holds the banks' sizes only, so that data workers carry no audio of them.

    Args:
        kinds: [n] kind of each noise segment; a kind is drawn first, then one of its segments.
        rirs: number of room impulse responses.
    """

    def __init__(self, settings: AugmentationSettings, kinds: np.ndarray, rirs: int):
        self._settings = settings
        self._by_kind = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
        self._rirs = rirs

    def draw(self, rng: np.random.Generator, crops: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The four fields of an `AugmentationParams` for `crops` crops, each [crops]."""
        changed, how, start = rng.random((3, crops))
        snr_db = rng.uniform(*self._settings.snr_db, size=crops)
        segments = [self._by_kind[kind] for kind in rng.integers(len(self._by_kind), size=crops)]
        noise = np.array([segment[int(pick * len(segment))] for segment, pick in zip(segments, rng.random(crops), strict=True)])
        rir = rng.integers(self._rirs, size=crops)
        augmented = changed < self._settings.probability
        # One number decides between both, reverberation and noise: a crop costs the same draws whatever the shares.
        both = how < self._settings.both
        reverberated = how < self._settings.both + (1 - self._settings.both) * self._settings.reverberation
        return (
            np.where(augmented & (both | ~reverberated), noise, NOTHING),
            start.astype(np.float32),
            snr_db.astype(np.float32),
            np.where(augmented & reverberated, rir, NOTHING),
        )


def normalise_peak(waves: Tensor) -> Tensor:
    """[M, N] scaled so that each waveform's greatest magnitude is 1; silence stays silence."""
    return waves / waves.abs().amax(dim=1, keepdim=True).clamp(min=1 / FULL_SCALE)


class Augmenter:
    """Augments crops as drawn. The banks live on the training device."""

    def __init__(self, noise: Bank, rirs: Bank, device: torch.device):
        self._noise = noise.to(device)
        self._rirs = rirs.to(device)
        self._longest_rir = int(rirs.length.max())

    def __call__(self, crops: Tensor, params: AugmentationParams) -> Tensor:
        """[M, N] int16 or float crops to peak-normalised float32 waveforms, changed as `params` ([M] each, on the CPU) says."""
        waves = crops.float() / FULL_SCALE
        # Which rows are touched is known on the CPU: the device is never waited for.
        noisy = torch.nonzero(params.noise != NOTHING).squeeze(1)
        wet = torch.nonzero(params.rir != NOTHING).squeeze(1)
        if len(wet):
            rows = wet.to(waves.device, non_blocking=True)
            more = rounded_up(wet) if waves.is_cuda else wet
            reverberated = reverberate(waves[more.to(waves.device, non_blocking=True)], self._responses(params.rir[more]))
            waves.index_copy_(0, rows, reverberated[: len(wet)])
        if len(noisy):  # after the room: the noise of a crop that has both is added at its place
            rows = noisy.to(waves.device, non_blocking=True)
            noise = self._noise_like(waves.shape[1], params.noise[noisy], params.start[noisy])
            snr_db = params.snr_db[noisy].to(waves.device, non_blocking=True)
            waves.index_copy_(0, rows, add_noise(waves[rows], noise, snr_db))
        return normalise_peak(waves)

    def _noise_like(self, samples: int, segments: Tensor, start: Tensor) -> Tensor:
        """[m, samples] from the noise bank; a segment that ends too early starts again."""
        device, kind = self._noise.samples.device, number_type(self._noise)
        segments = segments.to(device, non_blocking=True)
        length = self._noise.length[segments]
        first = (start.to(device, non_blocking=True) * length).to(kind)
        inside = first.unsqueeze(1) + torch.arange(samples, device=device, dtype=kind)
        inside.remainder_(length.to(kind).unsqueeze(1))
        return picked(self._noise, inside.add_(self._noise.start[segments].to(kind).unsqueeze(1))).div_(FULL_SCALE)

    def _responses(self, rirs: Tensor) -> Tensor:
        """[m, longest] impulse responses, zero after their ends."""
        device, kind = self._rirs.samples.device, number_type(self._rirs)
        rirs = rirs.to(device, non_blocking=True)
        positions = torch.arange(self._longest_rir, device=device, dtype=kind)
        inside = positions < self._rirs.length[rirs].unsqueeze(1)
        index = positions + self._rirs.start[rirs].to(kind).unsqueeze(1)
        return picked(self._rirs, index.clamp_(max=len(self._rirs.samples) - 1)).mul_(inside).div_(FULL_SCALE)


def rounded_up(rows: Tensor) -> Tensor:
    """Rows, the last one repeated until there are as many as a multiple of `ROWS`.

    cuFFT makes a new plan for each number of rows, which takes milliseconds. The number changes from batch to batch.
    """
    return torch.cat([rows, rows[-1:].expand(-len(rows) % ROWS)])


def number_type(bank: Bank) -> torch.dtype:
    """The type that numbers the samples of a bank, and of a crop beyond its end: half as wide where that is enough, for speed."""
    return torch.int32 if len(bank.samples) < 2**30 else torch.int64


def picked(bank: Bank, index: Tensor) -> Tensor:
    """[m, n] float32, the samples of the bank at the places in `index` ([m, n])."""
    return bank.samples.index_select(0, index.flatten()).view(index.shape).float()


def add_noise(speech: Tensor, noise: Tensor, snr_db: Tensor) -> Tensor:
    """`speech` plus `noise` scaled to a signal-to-noise ratio.

    Args:
        speech, noise: [M, N].
        snr_db: [M], the ratio of the mean powers over the crop, dB.
    """
    speech_power = speech.square().mean(dim=1)
    noise_power = noise.square().mean(dim=1).clamp(min=SMALLEST_POWER)
    gain = (speech_power / noise_power / 10 ** (snr_db / 10)).sqrt()
    return speech + gain.unsqueeze(1) * noise


def reverberate(speech: Tensor, responses: Tensor) -> Tensor:
    """`speech` ([M, N]) convolved with room impulse responses ([M, R]) and cut to its own length.

    A response starts at its direct path, so speech and reverberated speech stay aligned.
    """
    samples = speech.shape[1]
    # A length with small prime factors: the one that just suffices can be several times as slow.
    size = next_fast_len(samples + responses.shape[1] - 1, real=True)
    spectrum = torch.fft.rfft(speech, n=size) * torch.fft.rfft(responses, n=size)
    return torch.fft.irfft(spectrum, n=size)[:, :samples]
