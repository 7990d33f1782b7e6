"""Log-mel features against torchaudio's port of Kaldi, on real speech."""

import pytest
import torch
from torchaudio.compliance import kaldi

from selfsv.data.features import FULL_SCALE, LogMel
from selfsv.settings.audio import FeatureSettings


def kaldi_fbank(wave: torch.Tensor, **options) -> torch.Tensor:
    scaled = wave.unsqueeze(0) * FULL_SCALE
    return kaldi.fbank(scaled, num_mel_bins=80, window_type="hamming", sample_frequency=16_000, dither=0.0, **options)


def test_log_mel_is_kaldis(voice):
    ours = LogMel(FeatureSettings(mean_normalise=False))(voice.unsqueeze(0))[0]
    torch.testing.assert_close(ours, kaldi_fbank(voice), atol=2e-3, rtol=1e-4)


def test_window_and_shift_follow_the_settings(voice):
    settings = FeatureSettings(mean_normalise=False, frame_ms=32.0, shift_ms=16.0)
    expected = kaldi_fbank(voice, frame_length=32.0, frame_shift=16.0)
    torch.testing.assert_close(LogMel(settings)(voice.unsqueeze(0))[0], expected, atol=2e-3, rtol=1e-4)


def test_mean_normalisation_is_per_crop(voice):
    batch = torch.stack([voice[:32_000], 0.1 * voice[16_000:48_000]])
    features = LogMel(FeatureSettings())(batch)
    torch.testing.assert_close(features.mean(dim=1), torch.zeros(2, 80), atol=1e-4, rtol=0)
    alone = kaldi_fbank(batch[1])
    torch.testing.assert_close(features[1], alone - alone.mean(dim=0), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("length", [400, 8_123, 30_000])
def test_padding_changes_nothing(voice, length):
    log_mel = LogMel(FeatureSettings())
    padded = torch.zeros(2, 48_000)
    padded[0], padded[1, :length] = voice[:48_000], voice[:length]
    lengths = torch.tensor([48_000, length])
    frames = log_mel.frames(lengths)
    features = log_mel(padded, lengths)
    torch.testing.assert_close(features[1, : frames[1]], log_mel(voice[None, :length])[0], atol=1e-4, rtol=1e-4)
