"""Cepstra, deltas, sliding mean and speech against torchaudio's ports of Kaldi, on real voices; and padding."""

import numpy as np
import pytest
import torch
from torchaudio.compliance import kaldi
from torchaudio.functional import compute_deltas, sliding_window_cmn

from selfsv.data.features import FULL_SCALE, LogMel
from selfsv.models.cepstra import Cepstra, delta_filters, sliding_mean, speech, with_deltas
from selfsv.settings.audio import FeatureSettings
from selfsv.settings.ivector import CepstraSettings

FEATURES = FeatureSettings(mean_normalise=False)


@pytest.fixture
def features(voice) -> torch.Tensor:
    """[1, T, 80] of a real voice."""
    return LogMel(FEATURES)(voice.unsqueeze(0))


def test_cepstra_are_kaldis_but_for_the_lifter(voice, features):
    scaled = voice.unsqueeze(0) * FULL_SCALE
    options = {"num_ceps": 20, "num_mel_bins": 80, "cepstral_lifter": 0.0, "use_energy": False, "dither": 0.0}
    expected = kaldi.mfcc(scaled, window_type="hamming", sample_frequency=16_000, **options)
    torch.testing.assert_close((features @ Cepstra(CepstraSettings(), 80).transform)[0], expected, atol=5e-3, rtol=1e-3)


@pytest.mark.parametrize("frames", [2, 3])
def test_deltas_are_torchaudios(frames):
    """Double deltas but for the ends, where torchaudio repeats the first and the last delta, and Kaldi, as we do, the cepstra."""
    cepstra = torch.randn(2, 40, 5)
    once = compute_deltas(cepstra.mT, 2 * frames + 1)
    twice = compute_deltas(once, 2 * frames + 1)
    found = with_deltas(cepstra, torch.tensor([40, 40]), delta_filters(frames, 5))
    torch.testing.assert_close(found[:, :, :5], cepstra)
    torch.testing.assert_close(found[:, :, 5:10], once.mT)
    inner = slice(2 * frames, -2 * frames)
    torch.testing.assert_close(found[:, inner, 10:], twice.mT[:, inner])


@pytest.mark.parametrize("frames", [20, 299, 300, 301, 700])
def test_the_sliding_mean_is_torchaudios(frames):
    """An even window, as Kaldi's: one frame more before the centre than after it."""
    cepstra = torch.randn(1, frames, 4).cumsum(1)
    expected = sliding_window_cmn(cepstra, cmn_window=300, center=True)
    torch.testing.assert_close(cepstra - sliding_mean(cepstra, torch.tensor([frames]), 300), expected, atol=1e-3, rtol=1e-4)


def test_silence_between_words_is_no_speech(voice):
    """A second of faint noise in the middle of a voice; its edges belong to the voice."""
    wave = voice[: 4 * 16_000].clone()
    wave[24_000:40_000] = 1e-4 * torch.randn(16_000)
    found = speech(LogMel(FEATURES)(wave.unsqueeze(0)), torch.tensor([398]), -2.0)[0]
    assert not found[155:245].any()
    assert found[:145].float().mean() > 0.5 and found[255:].float().mean() > 0.5


def test_speech_is_what_a_plain_loop_says(features):
    energy = np.log(np.exp(features[0].double().numpy()).sum(axis=1))
    loud = energy > energy.mean() - 1.0
    expected = [loud[max(step - 2, 0) : step + 3].any() for step in range(len(loud))]
    assert speech(features, torch.tensor([len(loud)]), -1.0)[0].tolist() == expected
    assert 0.3 < np.mean(expected) < 1


def test_where_nothing_stands_out_all_is_speech():
    assert speech(torch.zeros(1, 30, 80), torch.tensor([30]), 0.5).all()


def test_padding_changes_nothing(features):
    """Whatever it is."""
    cepstra = Cepstra(CepstraSettings(mean_frames=50), 80)
    batch, lengths = features[:, :120].repeat(4, 1, 1), torch.tensor([120, 61, 30, 1])
    for row, length in zip(batch, lengths, strict=True):
        row[length:] = 30 * torch.randn(120 - int(length), 80)
    together, voiced = cepstra(batch, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, voiced_alone = cepstra(batch[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(together[row, :length], alone[0], atol=1e-4, rtol=1e-4)
        assert torch.equal(voiced[row, :length], voiced_alone[0]) and not voiced[row, length:].any()
