"""The quality note: signals whose speech, noise and clipping are known, and real voices that get worse."""

import json

import numpy as np
import pytest
import soundfile

from selfsv.__main__ import main
from selfsv.inference.quality import clipped_share, frame_power, quality_of
from tests.conftest import recordings

RATE = 16_000


def bursts(seconds: float, on: float, snr_db: float, seed: int = 0) -> np.ndarray:
    """Noise-like bursts, `on` of every second, in steady noise `snr_db` below them: int16."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    signal = 3000 * rng.normal(size=len(time)) * (time % 1 < on)
    noise = 3000 * 10 ** (-snr_db / 20) * rng.normal(size=len(time))
    return np.round(signal + noise).clip(-32768, 32767).astype(np.int16)


@pytest.mark.parametrize("snr_db", [10, 20, 30])
@pytest.mark.parametrize("on", [0.3, 0.6, 0.8])
def test_speech_and_noise_of_known_signals(snr_db, on):
    found = quality_of(bursts(20, on, snr_db))
    assert found.speech_seconds == pytest.approx(20 * on, rel=0.02)
    assert found.snr_db == pytest.approx(snr_db, abs=1.5)
    assert found.clipped == 0 and found.doubts() == ([] if found.snr_db >= 10 else [f"noisy, about {found.snr_db:.0f} dB"])


def test_real_voices_get_worse_with_noise():
    rng = np.random.default_rng(0)
    for path in recordings("test", 5, 1):
        voice, _ = soundfile.read(path, dtype="float32")
        level = np.sqrt(np.mean(np.square(voice)))
        noisy = [voice + level * 10 ** (-snr / 20) * rng.normal(size=len(voice)) for snr in (30, 20, 10, 0)]
        found = [quality_of(np.round(32767 * wave / np.abs(wave).max()).astype(np.int16)).snr_db for wave in noisy]
        assert found == sorted(found, reverse=True) and found[-1] < 10 < found[0]


def test_clipping_is_the_share_of_samples_at_the_limit():
    tone = 2.0 * np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)
    clipped = (32767 * tone.clip(-1, 1)).astype(np.int16)
    assert clipped_share(clipped) == pytest.approx(np.mean(np.abs(tone) >= 1), abs=1e-3)
    assert clipped_share((8000 * tone).astype(np.int16)) == 0
    assert "clipped" in quality_of(clipped).doubts()[-1]


def test_power_is_each_frames_variance():
    samples = np.random.default_rng(1).integers(-9000, 9000, 2_500_001).astype(np.int16)  # more than a block
    expected = samples[: len(samples) // 160 * 160].reshape(-1, 160).astype(np.float64).var(axis=1)
    np.testing.assert_allclose(frame_power(samples), expected)


@pytest.mark.parametrize("samples", [np.zeros(RATE, np.int16), np.zeros(50, np.int16), np.full(RATE, 5000, np.int16)])
def test_silence_has_no_speech(samples):
    found = quality_of(samples)
    assert found.speech_seconds == 0 and np.isfinite(found.snr_db) and "0.0 s of speech" in found.doubts()[0]


def test_verify_says_it_beside_the_decision(experiment, capsys):
    paths = [str(path) for path in recordings("test", 2, 1)]
    arguments = ["verify", *paths, "--model", str(experiment.folder), "--device", "cpu", "--threads", "1", "--threshold", "0.5"]
    main([*arguments, "--json"])
    found = json.loads(capsys.readouterr().out)["quality"]
    assert [set(each) for each in found] == [{"speech_seconds", "snr_db", "clipped", "doubts"}] * 2
    main(arguments)
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert all("s of speech, SNR about" in line and path.rpartition("/")[2] in line for path, line in zip(paths, lines, strict=True))
