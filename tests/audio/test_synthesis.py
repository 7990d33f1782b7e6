"""Synthesised noise, music, babble and rooms, measured with scipy."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import signal

from pipeline import noise, rirs
from selfsv.artifacts import save_torch, write_table
from selfsv.data.banks import NOISE_KINDS, load_bank
from selfsv.prepare.synthesis import (
    IMAGE_ORDER,
    chords,
    coloured_noise,
    draw_room,
    finished_response,
    image_source_response,
    mixture,
    noise_of_colour,
    simulate_response,
    simulated_responses,
    with_late_tail,
)

RATE = 16000


def call(monkeypatch: pytest.MonkeyPatch, script: object, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
    script.main()  # type: ignore[attr-defined]


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_the_spectrum_falls_as_the_colour_says(exponent: float) -> None:
    noise_ = noise_of_colour(60 * RATE, exponent, np.random.default_rng(0))
    assert np.sqrt(np.mean(noise_**2)) == pytest.approx(1.0)
    frequency, power = signal.welch(noise_, RATE, nperseg=8192)
    band = (frequency > 100) & (frequency < 7000)
    slope = np.polyfit(np.log(frequency[band]), np.log(power[band]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.05)


def test_noise_has_the_length_asked_for_and_differs_by_seed() -> None:
    one, again, other = (coloured_noise(5.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == (5 * RATE,)
    np.testing.assert_array_equal(one, again)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.2


def test_music_is_tonal_where_noise_is_flat() -> None:
    def flatness(samples: np.ndarray) -> float:
        power = signal.welch(samples, RATE, nperseg=4096)[1][10:1000]
        return float(np.exp(np.mean(np.log(power))) / np.mean(power))

    music = np.mean([flatness(chords(8.0, np.random.default_rng(seed))) for seed in range(8)])
    white = flatness(noise_of_colour(8 * RATE, 0.0, np.random.default_rng(0)))
    assert music < 0.25 < 0.9 < white


def test_a_mixture_holds_its_tracks_at_equal_power() -> None:
    time = np.arange(4 * RATE) / RATE
    tracks = [(level * np.sin(2 * np.pi * hz * time)).astype(np.float32) for level, hz in ((0.001, 500), (0.9, 1500), (0.1, 3000))]
    total = mixture([*tracks, np.zeros(RATE, np.float32)], 6.0, np.random.default_rng(0))
    assert total.shape == (6 * RATE,)
    frequency, power = signal.welch(total, RATE, nperseg=4096, scaling="spectrum")
    levels = [power[np.abs(frequency - hz) < 30].max() for hz in (500, 1500, 3000)]
    assert max(levels) / min(levels) < 1.3


# --- rooms -----------------------------------------------------------------------------------------------------------


def reverberation_time(response: np.ndarray) -> float:
    """RT60 in seconds from the decay between -5 and -25 dB of Schroeder's backward integral (ISO 3382's T20)."""
    after = response[np.argmax(np.abs(response)) :]
    decay = 10 * np.log10(np.cumsum(after[::-1] ** 2)[::-1] / np.sum(after**2) + 1e-12)
    first, last = np.argmax(decay < -5), np.argmax(decay < -25)
    return -60 / np.polyfit(np.arange(first, last) / RATE, decay[first:last], 1)[0]


def test_small_rooms_reverberate_as_long_as_asked() -> None:
    ratios = []
    for index in range(24):
        rng = np.random.default_rng([3, index])
        room = draw_room(0, rng)
        ratios.append(reverberation_time(with_late_tail(image_source_response(room), room, 1.5, rng)) / room.rt60)
    assert np.median(ratios) == pytest.approx(1.0, abs=0.05)
    assert np.quantile(ratios, 0.1) > 0.8
    assert np.quantile(ratios, 0.9) < 1.2


def test_the_tail_goes_on_where_the_reflections_end() -> None:
    """Small room, long reverberation: against a simulation of twice the order."""
    pra = pytest.importorskip("pyroomacoustics")
    room = draw_room(0, np.random.default_rng(0))._replace(size=np.array([4.0, 3.0, 2.5]), rt60=0.5, absorption=0.161 * 30 / (59 * 0.5))
    room = room._replace(talker=np.array([1.0, 1.0, 1.5]), microphone=np.array([2.5, 2.0, 1.2]))
    box = pra.ShoeBox(room.size, fs=RATE, materials=pra.Material(room.absorption), max_order=2 * IMAGE_ORDER)
    box.add_source(room.talker)
    box.add_microphone(room.microphone)
    box.compute_rir()
    finer = np.asarray(box.rir[0][0])
    ours = with_late_tail(image_source_response(room), room, 1.0, np.random.default_rng(0))
    for start in range(0, round(0.18 * RATE), 320):  # where twice the order is complete: 0.2 s
        level = [10 * np.log10(np.mean(response[start : start + 640] ** 2)) for response in (ours, finer)]
        assert level[0] == pytest.approx(level[1], abs=2.0)
    assert np.corrcoef(ours[:1000], finer[:1000])[0, 1] > 0.9999  # both begin alike


def test_rooms_are_what_they_should_be() -> None:
    for index in range(300):
        room = draw_room(index % 3, np.random.default_rng(index))
        assert ((room.talker > 0.3) & (room.talker < room.size - 0.3)).all()
        assert 0.1 <= room.rt60 <= 1.0
        assert (2.0, 10.0, 30.0)[index % 3] <= room.size[:2].min()
        assert room.size[:2].max() <= (10.0, 30.0, 50.0)[index % 3]


def test_a_response_starts_at_its_direct_path() -> None:
    early = np.zeros(4000, np.float32)
    early[700], early[900], early[3999] = -0.5, 0.25, 1e-9
    done = finished_response(early, 1.0)
    assert done.dtype == np.int16
    assert len(done) == 201
    assert done[0] == -32767
    assert done[200] == pytest.approx(32767 / 2, abs=1)
    assert len(finished_response(early, 0.01)) == 1


def test_rooms_do_not_depend_on_processes() -> None:
    one = list(simulated_responses(5, 0.5, 1, processes=1))
    two = list(simulated_responses(5, 0.5, 1, processes=2))
    assert len(one) == len(two) == 5
    for mine, other in zip(one, two, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert not np.array_equal(one[0][:100], simulate_response(0, 0.5, 2)[:100])


def test_the_script_without_a_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(monkeypatch, rirs, "--settings", '{"simulated_rooms": 9, "seconds": 0.4}', "--seed", 1, "--rirs", tmp_path / "rirs.pt")
    made = load_bank(tmp_path / "rirs.pt")
    assert len(made) == 9
    assert made.length.max() <= 0.4 * RATE
    assert all(made.segment(index)[0].abs() == 32767 for index in range(9))


# --- where there is no MUSAN -----------------------------------------------------------------------------------------


def packed_tones(folder: Path) -> tuple[Path, Path]:
    """A packed corpus of 20 utterances, each a tone above 3 kHz of its own."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2 * RATE, 20 * RATE, 20)
    waves = [(8000 * np.sin(2 * np.pi * (3000 + 100 * n) * np.arange(length) / RATE)).astype(np.int16) for n, length in enumerate(lengths)]
    save_torch(folder / "audio-0.pt", torch.from_numpy(np.concatenate(waves)))
    table = pd.DataFrame({"utterance": [f"u{n:02d}" for n in range(20)], "num_samples": lengths, "offset": np.cumsum(lengths) - lengths})
    table["status"] = "ok"
    table["shard"] = 0
    write_table(folder / "manifest.parquet", table)
    return folder / "manifest.parquet", folder / "audio-0.pt"


def test_babble_comes_from_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, audio = packed_tones(tmp_path)
    settings = '{"minutes_per_kind": 0.5, "babble_talkers": [3, 3]}'
    arguments = ("--settings", settings, "--manifest", manifest, "--audio", audio, "--seed", 1)
    call(monkeypatch, noise, *arguments, "--noise", tmp_path / "noise.pt")
    call(monkeypatch, noise, *arguments, "--threads", 3, "--noise", tmp_path / "again.pt")
    made = load_bank(tmp_path / "noise.pt")
    assert torch.equal(made.samples, load_bank(tmp_path / "again.pt").samples)
    assert set(np.unique(made.kind)) == {0, 1, 2, 3}
    for index in range(len(made)):
        if made.kinds[made.kind[index]] != "babble":
            continue
        frequency, power = signal.welch(made.segment(index).numpy().astype(float), RATE, nperseg=8000)
        found, _ = signal.find_peaks(power, height=0.02 * power.sum())
        assert len(found) == 3
        assert (frequency[found] >= 2990).all()
    for number, _ in enumerate(NOISE_KINDS):
        seconds = made.length[made.kind == number].sum() / RATE
        assert 30 <= seconds <= 42


def test_without_tree_and_without_corpus_the_error_says_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Exception, match="--manifest"):
        call(monkeypatch, noise, "--settings", "{}", "--seed", 1, "--noise", tmp_path / "noise.pt")
