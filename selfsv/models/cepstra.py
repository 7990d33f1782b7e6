"""Mel-frequency cepstral coefficients from log-mel energies: deltas, sliding mean and voice activity as in Kaldi's i-vector recipes.

What an utterance was padded with changes nothing: frames beyond its end count as copies of its last one for deltas, and not at all
elsewhere.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.functional import create_dct

from selfsv.settings.ivector import CepstraSettings

ORDERS = 3  # cepstra, deltas, double deltas
SPEECH_REACH = 2  # frames around one of high energy that are speech, too [Kaldi's VoxCeleb recipe: vad-frames-context]


class Cepstra(nn.Module):
    """Log-mel energies, not mean-normalised, to cepstra with deltas, and the speech among the frames.

    Args:
        mel_bins: F.
    """

    transform: Tensor  # [F, coefficients]
    filters: Tensor  # [taps x coefficients, ORDERS x coefficients]

    def __init__(self, settings: CepstraSettings, mel_bins: int):
        super().__init__()
        self.settings = settings
        coefficients = min(settings.coefficients, mel_bins)
        self.dimensions = ORDERS * coefficients
        # Kaldi's transform is the orthonormal one, too. It also scales ("lifters") the cepstra, which changes no Gaussian's posterior.
        self.register_buffer("transform", create_dct(mel_bins, mel_bins, "ortho")[:, :coefficients], persistent=False)
        self.register_buffer("filters", delta_filters(settings.delta_frames, coefficients), persistent=False)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Cepstra [B, T, ORDERS x coefficients] without their sliding mean, and whether a frame is speech [B, T].

        Args:
            features: [B, T, F] float32.
            lengths: [B] numbers of frames, 1 at least.
        """
        cepstra = with_deltas(features @ self.transform, lengths, self.filters)
        centred = cepstra - sliding_mean(cepstra, lengths, self.settings.mean_frames)
        return centred, speech(features, lengths, self.settings.speech_threshold)


def delta_filters(frames: int, coefficients: int) -> Tensor:
    """A matrix from the cepstra of 4 `frames` + 1 frames, one after the other, to those of the middle one in all orders.

    A delta is the slope of a regression line over `frames` frames on each side; a double delta is that of the deltas.
    """
    ramp = np.arange(-frames, frames + 1) / (2 * np.square(np.arange(1, frames + 1)).sum())
    same, once, twice = np.eye(4 * frames + 1)[2 * frames], np.pad(ramp, frames), np.convolve(ramp, ramp)
    return torch.tensor(np.kron(np.stack([same, once, twice], axis=1), np.eye(coefficients)), dtype=torch.float32)


def with_deltas(cepstra: Tensor, lengths: Tensor, filters: Tensor) -> Tensor:
    """[B, T, C] to [B, T, ORDERS x C]; the first and the last frame repeat beyond the ends. `filters` as from `delta_filters`."""
    frames, taps = cepstra.shape[1], len(filters) // cepstra.shape[2]
    places = torch.arange(-(taps // 2), frames + taps // 2, device=cepstra.device).clamp(min=0)
    places = torch.minimum(places, lengths.unsqueeze(1) - 1)  # [B, T + taps - 1]
    extended = cepstra.gather(1, places.unsqueeze(2).expand(-1, -1, cepstra.shape[2]))
    return torch.cat([extended[:, tap : tap + frames] for tap in range(taps)], dim=2) @ filters


def sliding_mean(frames: Tensor, lengths: Tensor, window: int) -> Tensor:
    """[B, T, C]: means over the `window` frames around each one, moved inwards at an utterance's ends."""
    steps, ends = torch.arange(frames.shape[1], device=frames.device), lengths.unsqueeze(1)
    start = torch.minimum((steps - window // 2).clamp(min=0), (ends - window).clamp(min=0))
    stop = torch.minimum(start + window, ends)
    # In float64: differences of sums over two minutes.
    sums = F.pad(frames.double().cumsum(dim=1), (0, 0, 1, 0))
    first, last = (sums.gather(1, places.unsqueeze(2).expand(-1, -1, frames.shape[2])) for places in (start, stop))
    return ((last - first) / (stop - start).unsqueeze(2)).to(frames.dtype)


def speech(features: Tensor, lengths: Tensor, threshold: float) -> Tensor:
    """[B, T] bool: frames near one whose log energy exceeds the utterance's mean by `threshold`; all of them, where there is none."""
    inside = torch.arange(features.shape[1], device=features.device) < lengths.unsqueeze(1)
    energy = features.logsumexp(dim=2)
    mean = (energy * inside).sum(dim=1, keepdim=True) / lengths.unsqueeze(1)
    loud = (energy > mean + threshold) & inside
    padded, frames = F.pad(loud, (SPEECH_REACH, SPEECH_REACH)), features.shape[1]
    near = torch.stack([padded[:, step : step + frames] for step in range(2 * SPEECH_REACH + 1)]).any(dim=0)
    return (near | ~loud.any(dim=1, keepdim=True)) & inside
