"""Log-mel filter-bank energies as Kaldi computes them, batched on any device (paper V-C)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.compliance.kaldi import get_mel_banks

from selfsv.settings.audio import FeatureSettings

SAMPLE_RATE = 16_000
# Kaldi's defaults, which the paper does not change.
PREEMPHASIS = 0.97
LOWEST_HZ = 20.0
SMALLEST_ENERGY = torch.finfo(torch.float32).eps
# Kaldi works on samples in the range of 16-bit integers; the energy floor has its meaning there.
FULL_SCALE = 32768.0


class LogMel(nn.Module):
    """Waveforms to mean-normalised log-mel energies: Hamming window, snipped edges, no dither, no voice activity detection."""

    window: Tensor
    mel: Tensor

    def __init__(self, settings: FeatureSettings):
        super().__init__()
        self.frame = round(SAMPLE_RATE * settings.frame_ms / 1000)
        self.shift = round(SAMPLE_RATE * settings.shift_ms / 1000)
        self.fft_size = 1 << (self.frame - 1).bit_length()
        self.mean_normalise = settings.mean_normalise
        mel, _ = get_mel_banks(settings.mel_bins, self.fft_size, SAMPLE_RATE, LOWEST_HZ, 0.0, 100.0, -500.0, 1.0)
        self.register_buffer("window", torch.hamming_window(self.frame, periodic=False), persistent=False)
        self.register_buffer("mel", F.pad(mel, (0, 1)).T.contiguous(), persistent=False)

    @torch.no_grad()
    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features of a batch of waveforms.

        Args:
            waves: [B, N] float32, full scale is 1.
            lengths: [B] true numbers of samples where waveforms were padded to N; None where all are N long.

        Returns:
            [B, T, mel_bins] with T = 1 + (N - frame) // shift.
        """
        features = self.energies(waves)
        if not self.mean_normalise:
            return features
        if lengths is None:
            return features - features.mean(dim=1, keepdim=True)
        counts = self.frames(lengths)
        inside = (torch.arange(features.shape[1], device=features.device) < counts.unsqueeze(1)).unsqueeze(2)
        return features - (features * inside).sum(dim=1, keepdim=True) / counts.view(-1, 1, 1)

    def energies(self, waves: Tensor) -> Tensor:
        """The logarithms of the mel filters' energies, [B, T, mel_bins], of waveforms [B, N]."""
        frames = (waves * FULL_SCALE).unfold(1, self.frame, self.shift)
        frames = frames - frames.mean(dim=2, keepdim=True)
        spectrum = torch.fft.rfft(self._windowed(frames))
        power = spectrum.real.square().add_(spectrum.imag.square())
        return (power @ self.mel).clamp_(min=SMALLEST_ENERGY).log_()

    def _windowed(self, frames: Tensor) -> Tensor:
        """[B, T, frame] to [B, T, fft_size]: pre-emphasised, under the window, and zero beyond it.

        Written where it is needed and changed in place: what features cost is mostly the way to memory and back.
        """
        padded = frames.new_zeros(*frames.shape[:2], self.fft_size)
        changed = padded[:, :, : self.frame]
        changed[:, :, 1:], changed[:, :, :1] = frames[:, :, :-1], frames[:, :, :1]  # before the first sample comes itself
        changed.mul_(-PREEMPHASIS).add_(frames).mul_(self.window)
        return padded

    def frames(self, samples: Tensor) -> Tensor:
        """Numbers of frames of waveforms of these numbers of samples."""
        return 1 + (samples - self.frame) // self.shift
