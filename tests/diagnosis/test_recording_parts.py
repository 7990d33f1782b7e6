"""Parts of recordings: which, how long, and that the stage embeds them as the encoder does."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline import extract_parts
from selfsv.artifacts import read_embeddings
from selfsv.data.corpus import PackedCorpus
from selfsv.data.features import LogMel
from selfsv.diagnosis.recording_parts import RecordingParts, chosen_recordings
from selfsv.models.encoders import untrained
from selfsv.models.model_file import save_model
from selfsv.settings.audio import FeatureSettings
from selfsv.settings.encoder import EncoderSettings

RATE = 16_000
ENCODER = EncoderSettings(channels=16, mfa_channels=24, bottleneck=8, embedding=12)


class Ramps:
    """Recordings whose samples are their own positions, in units of 100."""

    def __init__(self, *seconds: float):
        self.num_samples = np.array([round(RATE * length) for length in seconds])

    def samples(self, index: int) -> np.ndarray:
        return (np.arange(self.num_samples[index]) // 100).astype(np.int16)


def test_parts_are_the_first_and_the_last_third():
    ramps = Ramps(3.3, 1, 6)
    parts = RecordingParts(ramps, np.array([0, 2]))
    assert parts.recording.tolist() == [0, 2, 0, 2] and parts.part.tolist() == [0, 0, 1, 1]
    for index, (recording, begin, end) in enumerate([(0, 0, 1.1), (2, 0, 2), (0, 2.2, 3.3), (2, 4, 6)]):
        expected = ramps.samples(recording)[round(begin * RATE) : round(end * RATE)]
        np.testing.assert_array_equal(parts.samples(index), expected)
        assert parts.num_samples[index] == len(expected)


def test_parts_of_a_long_recording_are_its_ends():
    parts = RecordingParts(Ramps(100), np.array([0]))
    assert parts.num_samples.tolist() == [10 * RATE] * 2
    assert parts.samples(0)[0] == 0 and parts.samples(1)[-1] == 100 * RATE // 100 - 1


def test_recordings_are_long_enough_bounded_and_always_the_same():
    seconds = np.random.default_rng(0).uniform(1, 8, size=500)
    chosen = chosen_recordings((seconds * RATE).astype(int), most=50)
    assert len(set(chosen.tolist())) == 50 and (np.diff(chosen) > 0).all() and (seconds[chosen] >= 3).all()
    np.testing.assert_array_equal(chosen, chosen_recordings((seconds * RATE).astype(int), most=50))
    np.testing.assert_array_equal(chosen_recordings((seconds * RATE).astype(int)), np.flatnonzero(seconds * RATE // 1 >= 3 * RATE))


def extracted(monkeypatch, folder, packed):
    """What the stage writes, by an untrained encoder; the encoder."""
    encoder = untrained(ENCODER, 80, 1, 0)
    save_model(folder / "model.pt", ENCODER, FeatureSettings(), encoder.state_dict(), stage="test")
    manifest, shards = packed
    files = ["--model", folder / "model.pt", "--manifest", manifest, "--audio", *shards, "--output", folder / "parts.parquet"]
    monkeypatch.setattr(sys, "argv", ["extract_parts", *map(str, files), "--threads", "1", "--device", "cpu"])
    extract_parts.main()
    return folder / "parts.parquet", encoder.eval()


def test_the_stage_embeds_each_part_by_itself(tmp_path, monkeypatch, packed):
    path, encoder = extracted(monkeypatch, tmp_path, packed.paths)
    names, embeddings = read_embeddings(path)
    corpus, log_mel = PackedCorpus(*packed.paths), LogMel(FeatureSettings())
    part = pd.read_parquet(path)["part"].to_numpy()
    long_enough = corpus.utterances[corpus.num_samples >= 3 * RATE]
    assert sorted(names[part == 0]) == sorted(names[part == 1]) == sorted(long_enough) and len(long_enough) > 10
    for row in (0, len(names) - 1):
        samples = corpus.samples(int(np.flatnonzero(corpus.utterances == names[row])[0])).astype(np.float32)
        third = len(samples) // 3
        wave = torch.from_numpy(samples[-third:] if part[row] else samples[:third])[None]
        with torch.no_grad():
            expected = encoder(log_mel(wave / wave.abs().max()))[0]
        np.testing.assert_allclose(embeddings[row], expected, atol=2e-4, rtol=1e-3)


def test_a_corpus_of_short_recordings_has_no_parts(tmp_path, monkeypatch, packed, caplog):
    manifest = pd.read_parquet(packed.paths[0]).assign(num_samples=RATE)
    manifest.to_parquet(tmp_path / "manifest.parquet")
    path, _ = extracted(monkeypatch, tmp_path, (tmp_path / "manifest.parquet", packed.paths[1]))
    names, _ = read_embeddings(path)
    assert len(names) == 0 and "no recording is long enough" in caplog.text


@pytest.mark.parametrize("seconds", [2.9, 3.0])
def test_a_part_has_a_second_at_least(seconds):
    assert len(chosen_recordings(np.array([round(seconds * RATE)]))) == (seconds >= 3)
