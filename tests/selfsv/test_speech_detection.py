"""Silero VAD on real voices, music and noise: what it finds, how recordings are cut by it, and what the program embeds."""

import json
import sys
import warnings
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from selfsv.__main__ import main
from selfsv.errors import InputError
from selfsv.inference.loading import load
from selfsv.parallel import ordered_map
from selfsv.prepare.cutting import spans
from selfsv.prepare.packing import decoded_pieces
from selfsv.prepare.speech_detection import MARGIN, SpeechDetector, with_margins
from selfsv.settings.data import CutSettings, DecodingSettings
from tests.conftest import REPOSITORY, SPEECH, recordings

RATE = 16_000
MUSAN = REPOSITORY / "demo" / "noise" / "musan"
BY_NETWORK = CutSettings(detector="silero")


def sound(kind: str, seconds: float) -> np.ndarray:
    """So much music or noise of the demo, int16."""
    files = sorted((MUSAN / kind).rglob("*.opus"))
    return np.concatenate([soundfile.read(path, dtype="int16")[0] for path in files])[: round(seconds * RATE)]


def voice(seconds: float) -> np.ndarray:
    """So much of one talker's sentences, int16."""
    files = sorted((SPEECH / "dev" / "wav" / "festvox_ru_nsh").rglob("*.opus"))[:30]
    return np.concatenate([soundfile.read(path, dtype="int16")[0] for path in files])[: round(seconds * RATE)]


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples.astype(np.float64)))))


@pytest.fixture(scope="module")
def detector() -> SpeechDetector:
    pytest.importorskip("silero_vad")
    return SpeechDetector()


# What it finds --------------------------------------------------------------------------------------------------------


def test_music_and_noise_hold_no_speech_and_voices_do(detector):
    def share(files):
        found = [(detector.stretches(samples), len(samples)) for samples, _ in (soundfile.read(path, dtype="int16") for path in files)]
        return sum(end - start for stretches, _ in found for start, end in stretches) / sum(length for _, length in found)

    files = {kind: sorted((MUSAN / kind).rglob("*.opus"))[:15] for kind in ("music", "noise", "speech")}
    assert share(files["music"]) < 0.02 and share(files["noise"]) < 0.05 and share(files["speech"]) > 0.8


def test_it_finds_what_the_package_finds_window_by_window(detector):
    import silero_vad

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        streaming = silero_vad.load_silero_vad(onnx=True)
    for path in recordings("test", 4, 2):
        samples, _ = soundfile.read(path, dtype="int16")
        waveform = torch.from_numpy(samples - samples.mean()).float()
        expected = silero_vad.get_speech_timestamps(waveform / waveform.abs().max(), streaming)
        assert detector.stretches(samples) == [(part["start"], part["end"]) for part in expected]


def test_neither_level_nor_offset_matters(detector):
    samples = voice(30.0) // 4
    expected = detector.stretches(4 * samples)
    for changed in (samples, 4 * samples + np.int16(900)):
        found = detector.stretches(changed)
        assert len(found) == len(expected) and np.abs(np.subtract(found, expected)).max() <= RATE // 10
    assert detector.stretches(np.zeros(RATE, np.int16)) == []


def test_threads_can_share_it(detector):
    voices = [voice(20.0)[start:] for start in range(0, 8 * RATE, RATE)]
    assert list(ordered_map(detector.stretches, voices, 4)) == [detector.stretches(samples) for samples in voices]


def test_torch_keeps_its_threads(monkeypatch):
    pytest.importorskip("silero_vad")
    for name in [name for name in sys.modules if name.partition(".")[0] == "silero_vad"]:
        monkeypatch.delitem(sys.modules, name)  # its first import changes them
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        SpeechDetector()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_margins_are_those_of_a_plain_loop():
    generator = np.random.default_rng(0)
    for _ in range(50):
        edges = np.sort(generator.choice(20 * RATE, 12, replace=False)).tolist()
        stretches = list(zip(edges[::2], edges[1::2], strict=True))
        expected = np.zeros(20 * RATE, bool)
        for start, end in stretches:
            expected[max(0, start - MARGIN) : end + MARGIN] = True
        found = with_margins(stretches, 20 * RATE)
        inside = np.zeros(20 * RATE, bool)
        for start, end in found:
            inside[start:end] = True
        assert (inside == expected).all()
        assert all(first < second for first, second in zip(chain(*found), list(chain(*found))[1:], strict=False)), "parts touch"


# Cutting --------------------------------------------------------------------------------------------------------------


def test_music_between_talks_is_left_out(detector):
    """Energy takes it for speech."""
    talk, music = voice(40.0), sound("music", 60.0)
    music = (music * (level(talk) / level(music))).clip(-32768, 32767).astype(np.int16)
    recording = np.concatenate([talk, music, talk])
    gap = slice(len(talk), len(talk) + len(music))

    def inside(found):
        samples = np.zeros(len(recording), bool)
        for start, end in found:
            assert 3 <= (end - start) / RATE <= 10 and not samples[start:end].any()
            samples[start:end] = True
        return samples

    by_network, by_energy = inside(spans(recording, BY_NETWORK, detector)), inside(spans(recording, CutSettings()))
    assert by_energy[gap].mean() > 0.8 and by_network[gap].mean() < 0.15
    speech = np.zeros(len(recording), bool)
    for start, end in detector.stretches(recording):
        speech[start:end] = True
    assert by_network[speech].mean() > 0.995


def test_a_recording_without_speech_is_rejected(detector, tmp_path):
    soundfile.write(tmp_path / "music.wav", sound("music", 30.0), RATE)
    soundfile.write(tmp_path / "talk.wav", voice(30.0), RATE)
    listing = pd.DataFrame(
        {"path": [str(tmp_path / f"{name}.wav") for name in ("music", "talk")], "reason": "", "channel": 0, "speed": 1.0}
    )
    music, talk = decoded_pieces(listing, DecodingSettings(), BY_NETWORK, threads=2)
    assert music == "silent: no speech in it"
    assert [(len(piece.samples), piece.start) for piece in talk] == [
        (end - start, start / RATE) for start, end in spans(voice(30.0), BY_NETWORK, detector)
    ]


# The program ----------------------------------------------------------------------------------------------------------


def test_the_program_embeds_the_speech_alone(detector, experiment, tmp_path, capsys):
    """A long gap of noise changes an embedding, and with --vad it does not."""
    talk, noise = voice(12.0), sound("noise", 20.0)
    paths = {name: tmp_path / f"{name}.wav" for name in ("talk", "gap", "noise")}
    for name, samples in (("talk", talk), ("gap", np.concatenate([noise, talk, noise])), ("noise", noise)):
        soundfile.write(paths[name], samples, RATE)
    model = load(experiment.model, "cpu")
    stretches = detector.stretches(talk)
    speech = np.concatenate([talk[start:end] for start, end in with_margins(stretches, len(talk))])
    (whole, gap), (alone, without_gap) = (
        list(model.embed_files([str(paths["talk"]), str(paths["gap"])], 1, given)) for given in (None, detector)
    )
    assert alone.seconds == len(speech) / RATE and whole.seconds == 12
    assert alone.quality.speech_seconds == sum(end - start for start, end in stretches) / RATE
    np.testing.assert_allclose(alone.embedding, model.embed(speech / 32768), atol=1e-4)
    assert without_gap.seconds == pytest.approx(alone.seconds, abs=1.5) and gap.seconds == pytest.approx(12 + 2 * len(noise) / RATE)
    assert model.compare(alone.embedding, without_gap.embedding) > model.compare(whole.embedding, gap.embedding)
    (rejected,) = model.embed_files([str(paths["noise"])], 1, detector)
    assert rejected.embedding is None and rejected.reason == "no speech: the detector finds none"
    options = ["--model", str(experiment.folder), "--device", "cpu", "--threads", "1", "--threshold", "-9", "--json"]
    assert main(["verify", "--vad", str(paths["talk"]), str(paths["gap"]), *options]) == 0
    quality = json.loads(capsys.readouterr().out)["quality"]
    assert [row["speech_seconds"] for row in quality] == [alone.quality.speech_seconds, without_gap.quality.speech_seconds]


def test_every_command_that_embeds_has_the_option(detector, experiment, tmp_path, capsys):
    paths = [str(path) for path in recordings("dev", 1, 2)]
    names = [Path(path).name for path in paths]
    (tmp_path / "trials.txt").write_text(f"1 {names[0]} {names[1]}\n0 {names[1]} {names[0]}\n")
    gallery = tmp_path / "gallery.parquet"
    model = ["--model", str(experiment.folder), "--device", "cpu", "--threads", "1", "--vad"]
    assert main(["enroll", "--gallery", str(gallery), "--speaker", "one", *paths, *model]) == 0
    assert main(["identify", "--gallery", str(gallery), paths[0], *model]) == 0
    assert main(["embed", "--output", str(tmp_path / "voices.parquet"), *paths, *model]) == 0
    assert main(["score", str(tmp_path / "trials.txt"), "--audio", str(Path(paths[0]).parent), *model]) == 0
    assert main(["score", str(tmp_path / "trials.txt"), "--embeddings", str(tmp_path / "voices.parquet"), *model]) == 2
    assert "--vad is for --audio" in capsys.readouterr().err
    expected = [found.seconds for found in load(experiment.model, "cpu").embed_files(paths, 1, detector)]
    for table in (gallery, tmp_path / "voices.parquet"):
        assert pd.read_parquet(table)["seconds"].tolist() == expected


@pytest.mark.parametrize("name", ["silero_vad", "onnxruntime"])
def test_a_missing_package_is_one_error_that_names_the_extra(name, monkeypatch, experiment, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    message = f"the package {name} is missing: pip install 'selfsv[vad]'"
    listing = pd.DataFrame({"path": ["a"], "reason": "", "channel": 0, "speed": 1.0})
    with pytest.raises(InputError) as failure:
        decoded_pieces(listing, DecodingSettings(), BY_NETWORK, threads=1)
    assert str(failure.value) == message
    paths = [str(path) for path in recordings("dev", 1, 2)]
    assert main(["verify", *paths, "--model", str(experiment.folder), "--device", "cpu", "--vad"]) == 2
    assert message in capsys.readouterr().err
