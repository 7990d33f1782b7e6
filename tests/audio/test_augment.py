"""Mixtures' measured SNR, reverberation against scipy, and what a plan does and does not touch."""

import numpy as np
import pytest
import scipy.signal
import torch

from selfsv.data.augment import (
    NOTHING,
    AugmentationParams,
    AugmentationSampler,
    Augmenter,
    add_noise,
    normalise_peak,
    number_type,
    reverberate,
)
from selfsv.data.banks import Bank
from selfsv.settings.audio import AugmentationSettings


def bank(*segments: np.ndarray, kinds: list[int] | None = None) -> Bank:
    lengths = torch.tensor([len(segment) for segment in segments])
    samples = torch.from_numpy(np.concatenate(segments).astype(np.int16))
    kind = torch.tensor(kinds or [0] * len(segments))
    return Bank(samples=samples, start=lengths.cumsum(0) - lengths, length=lengths, kind=kind, kinds=["noise", "music", "babble"])


def plan(noise: list[int], rir: list[int], snr_db: float = 10.0, start: float = 0.25) -> AugmentationParams:
    size = len(noise)
    return AugmentationParams(torch.tensor(noise), torch.full((size,), start), torch.full((size,), snr_db), torch.tensor(rir))


@pytest.fixture
def augmenter() -> Augmenter:
    rng = np.random.default_rng(0)
    noise = bank(*(rng.normal(0, level, length) for level, length in ((900, 20_000), (3000, 70_000))))
    decay = np.exp(-np.arange(4000) / 600)
    rirs = bank(32767 * decay * np.r_[1, rng.normal(0, 0.3, 3999)], 32767 * decay[:2500] * np.r_[1, rng.normal(0, 0.2, 2499)])
    return Augmenter(noise, rirs, torch.device("cpu"))


@pytest.mark.parametrize("snr_db", [5.0, 12.5, 20.0])
def test_measured_snr_is_the_one_asked_for(voice, snr_db):
    speech = torch.stack([voice[:32_000], 0.01 * voice[8_000:40_000]])
    noise = torch.randn(2, 32_000, generator=torch.Generator().manual_seed(0))
    added = add_noise(speech, noise, torch.full((2,), snr_db)) - speech
    measured = 10 * torch.log10(speech.square().mean(dim=1) / added.square().mean(dim=1))
    np.testing.assert_allclose(measured, snr_db, atol=0.01)


def test_reverberation_is_scipys_convolution(voice):
    rng = np.random.default_rng(0)
    responses = rng.normal(size=(2, 3000)) * np.exp(-np.arange(3000) / 400)
    speech = torch.stack([voice[:20_000], voice[20_000:40_000]])
    wet = reverberate(speech, torch.from_numpy(responses).float())
    for ours, dry, response in zip(wet, speech, responses, strict=True):
        np.testing.assert_allclose(ours, scipy.signal.fftconvolve(dry.numpy(), response)[:20_000], atol=1e-4)


def test_a_plan_does_what_it_says_to_each_crop(augmenter, voice):
    crops = torch.stack([(voice[start : start + 32_000] * 32767).to(torch.int16) for start in (0, 4000, 8000, 12_000)])
    dry = crops.float() / 32768
    out = augmenter(crops, plan(noise=[NOTHING, 1, NOTHING, 0], rir=[NOTHING, NOTHING, 1, NOTHING]))
    torch.testing.assert_close(out[0], normalise_peak(dry[:1])[0])
    noise = augmenter._noise.samples[20_000 + 17_500 :][:32_000].float() / 32768
    torch.testing.assert_close(out[1], normalise_peak(add_noise(dry[1:2], noise[None], torch.tensor([10.0])))[0])
    response = augmenter._rirs.samples[4000:6500].float().numpy() / 32768
    wet = scipy.signal.fftconvolve(dry[2].numpy(), response)[:32_000]
    np.testing.assert_allclose(out[2], wet / np.abs(wet).max(), atol=1e-4)


def test_a_crop_can_have_both_first_the_room_then_the_noise(augmenter, voice):
    crops = (voice[:32_000] * 32767).to(torch.int16)[None]
    response = augmenter._rirs.samples[:4000].float().numpy() / 32768
    wet = torch.from_numpy(scipy.signal.fftconvolve(crops[0].float().numpy() / 32768, response)[:32_000])[None]
    noise = augmenter._noise.samples[20_000 + 17_500 :][:32_000].float() / 32768
    expected = normalise_peak(add_noise(wet, noise[None], torch.tensor([10.0])))
    torch.testing.assert_close(augmenter(crops, plan(noise=[1], rir=[0])), expected, atol=1e-4, rtol=0)


def test_a_short_noise_segment_starts_again(augmenter):
    speech = torch.ones(1, 50_000, dtype=torch.int16)
    tiled = augmenter._noise_like(50_000, torch.tensor([0]), torch.tensor([0.5]))[0]
    torch.testing.assert_close(tiled[10_000:30_000], augmenter._noise.samples[:20_000].float() / 32768)
    torch.testing.assert_close(tiled[:10_000], tiled[20_000:30_000])
    assert augmenter(speech, plan([0], [NOTHING])).isfinite().all()


def test_every_output_has_its_peak_at_one_and_silence_stays(augmenter, voice):
    crops = torch.stack([(voice[:32_000] * 3000).to(torch.int16), torch.zeros(32_000, dtype=torch.int16)])
    out = augmenter(crops, plan([NOTHING, NOTHING], [0, 1]))
    assert out[0].abs().max().item() == pytest.approx(1.0)
    assert (out[1] == 0).all()


def test_drawn_plans_follow_the_settings():
    kinds = np.repeat([0, 1, 2], [5, 100, 20])
    sampler = AugmentationSampler(AugmentationSettings(probability=0.9, reverberation=0.4, snr_db=(5.0, 20.0)), kinds, rirs=50)
    noise, start, snr_db, rir = sampler.draw(np.random.default_rng(0), 40_000)
    assert np.mean(rir != NOTHING) == pytest.approx(0.9 * 0.4, abs=0.01)
    assert np.mean(noise != NOTHING) == pytest.approx(0.9 * 0.6, abs=0.01)
    assert not ((noise != NOTHING) & (rir != NOTHING)).any()
    shares = np.bincount(kinds[noise[noise != NOTHING]]) / np.sum(noise != NOTHING)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.02)
    assert 5 <= snr_db.min() < 5.1 and 19.9 < snr_db.max() <= 20
    assert start.min() >= 0 and start.max() < 1
    assert set(np.unique(rir)) == set(range(-1, 50))


@pytest.mark.parametrize("both", [0.0, 0.3, 1.0])
def test_both_takes_its_share_and_no_draw_of_its_own(both):
    shares = {"probability": 0.9, "reverberation": 0.25}
    samplers = [AugmentationSampler(AugmentationSettings(**shares, both=share), np.zeros(50), rirs=50) for share in (0.0, both)]
    generators = [np.random.default_rng(0), np.random.default_rng(0)]
    (plain, *_), (noise, _, _, rir) = (one.draw(rng, 40_000) for one, rng in zip(samplers, generators, strict=True))
    wet, noisy = rir != NOTHING, noise != NOTHING
    assert np.mean(wet & noisy) == pytest.approx(0.9 * both, abs=0.01)
    assert np.mean(wet & ~noisy) == pytest.approx(0.9 * (1 - both) * 0.25, abs=0.01)
    assert np.mean(~wet & ~noisy) == pytest.approx(0.1, abs=0.01)
    assert (noise == plain)[noisy & (plain != NOTHING)].all()
    assert generators[0].random() == generators[1].random()


def test_noise_that_ends_within_a_crop_starts_again(augmenter):
    crops = torch.zeros(1, 50_000, dtype=torch.int16)
    crops[0, 0] = 32767
    noise = augmenter(crops, plan(noise=[0], rir=[NOTHING], snr_db=-60.0))[0]
    np.testing.assert_allclose(noise[1:30_000], noise[20_001:50_000], atol=1e-6)


def test_large_banks_are_numbered_widely():
    """A bank of gibibytes, as far as its size goes: 32 bits would not count to its end and a crop beyond."""
    none = torch.empty(0, dtype=torch.int64)
    kinds = [Bank(torch.empty(size, dtype=torch.int16, device="meta"), none, none, none, ()) for size in (1000, 2**30 - 1, 2**30)]
    assert [number_type(large) for large in kinds] == [torch.int32, torch.int32, torch.int64]
