"""Embeddings of whole utterances, and the files that models travel in."""

import numpy as np
import pytest
import torch

from selfsv.data.corpus import PackedCorpus
from selfsv.data.features import LogMel
from selfsv.engine.extraction import by_length, extract_embeddings, pieces_of, samples_per_batch
from selfsv.engine.runtime import Runtime
from selfsv.errors import InputError
from selfsv.models.encoders import untrained
from selfsv.models.fbank_statistics import FbankStatistics
from selfsv.models.model_file import load_model, save_model
from selfsv.settings.audio import FeatureSettings
from selfsv.settings.encoder import EncoderSettings
from tests.models.small import SMALL

ENCODER = EncoderSettings(channels=16, mfa_channels=24, bottleneck=8, embedding=12, embedding_batchnorm=True)
RUNTIME = Runtime(torch.device("cpu"), 0, bfloat16=False, compile=False, checkpoint_seconds=1e9)


@pytest.mark.parametrize("kind", [*SMALL, "fbank"])
def test_batched_extraction_equals_one_utterance_at_a_time(kind, packed):
    corpus = PackedCorpus(*packed.paths)
    encoder = FbankStatistics() if kind == "fbank" else untrained(SMALL[kind], 80, 1, 0).eval()
    log_mel = LogMel(FeatureSettings(mean_normalise=kind != "fbank"))
    embeddings = extract_embeddings(encoder, log_mel, corpus, RUNTIME)
    for index in (0, 7, 23):
        wave = torch.from_numpy(corpus.samples(index).astype(np.float32))[None]
        with torch.no_grad():
            alone = encoder(log_mel(wave / wave.abs().max()))
        np.testing.assert_allclose(embeddings[index], alone[0], atol=2e-4, rtol=1e-3)


def test_an_encoder_of_large_tensors_sees_less_at_once():
    """The values of its largest tensor stay what they are for the others, on a GPU of 2400 s at once."""
    device, expected = torch.device("cuda"), 2400 * 16_000
    settings = {name: EncoderSettings(architecture=name) for name in SMALL}
    with torch.device("meta"):
        found = {name: samples_per_batch(untrained(settings[name], 80, 1, 0), device) for name in SMALL}
    assert found.pop("res2net50") * 256 * 80 == pytest.approx(expected * 4096)
    assert set(found.values()) == {expected} == {samples_per_batch(FbankStatistics(), device)}


class Voices:
    """Utterances in memory."""

    def __init__(self, *waves: np.ndarray):
        self._waves, self.num_samples = waves, np.array([len(wave) for wave in waves])

    def samples(self, index: int) -> np.ndarray:
        return self._waves[index]


@pytest.fixture(scope="module")
def voices(packed) -> Voices:
    """Utterances of seconds, and one of 250 s, among them."""
    corpus = PackedCorpus(*packed.paths)
    waves = [corpus.samples(index) for index in range(8)]
    return Voices(*waves[:3], np.resize(np.concatenate(waves), 250 * 16_000 + 1), *waves[3:])


def test_a_long_utterance_is_the_mean_of_pieces_of_at_most_two_minutes(voices):
    encoder, log_mel = untrained(ENCODER, 80, 1, 0).eval(), LogMel(FeatureSettings())
    seen = []
    encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[0] * inputs[0].shape[1]))
    embedding = extract_embeddings(encoder, log_mel, voices, RUNTIME)[3]
    assert max(seen) <= 120 * 100  # frames of 10 ms: what the encoder needs memory for
    third = (250 * 16_000 + 1) / 3
    parts = np.split(voices.samples(3).astype(np.float32), [int(third), int(2 * third)])
    with torch.no_grad():
        expected = [encoder(log_mel(torch.from_numpy(part / np.abs(part).max())[None]))[0].numpy() for part in parts]
    np.testing.assert_allclose(embedding, np.mean(expected, axis=0), atol=2e-4, rtol=1e-3)


def test_a_long_utterance_leaves_the_others_as_they_are(voices):
    encoder, log_mel = untrained(ENCODER, 80, 1, 0).eval(), LogMel(FeatureSettings())
    short = [index for index in range(9) if index != 3]
    expected = extract_embeddings(encoder, log_mel, Voices(*map(voices.samples, short)), RUNTIME)
    np.testing.assert_array_equal(extract_embeddings(encoder, log_mel, voices, RUNTIME)[short], expected)


@pytest.mark.parametrize(("seconds", "pieces"), [(1.0, 1), (120.0, 1), (120.0001, 2), (240.0, 2), (3600.0, 30), (3601.0, 31)])
def test_pieces_cover_an_utterance_evenly(seconds, pieces):
    samples = round(seconds * 16_000)
    cut = pieces_of(np.array([5, samples]))
    assert cut.utterance.tolist() == [0] + [1] * pieces and (cut.start[0], cut.length[0]) == (0, 5)
    starts, lengths = cut.start[1:], cut.length[1:]
    assert starts[0] == 0 and lengths.sum() == samples and np.array_equal(starts[1:], np.cumsum(lengths)[:-1])
    assert lengths.max() - lengths.min() <= 1 and lengths.max() <= 120 * 16_000


def test_fbank_statistics_are_mean_and_deviation():
    features = torch.randn(2, 50, 80)
    expected = torch.cat([features.mean(dim=1), features.std(dim=1, correction=0)], dim=1)
    torch.testing.assert_close(FbankStatistics()(features), expected)


def test_batches_hold_every_utterance_once_and_no_more_than_they_may():
    samples = np.random.default_rng(0).integers(16_000, 160_000, size=300)
    batches = by_length(samples, 640_000)
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(300))
    assert all(len(batch) * samples[batch].max() <= 640_000 for batch in batches)


def test_an_utterance_longer_than_a_batch_goes_alone():
    assert [len(batch) for batch in by_length(np.array([10, 10, 5000]), 100)] == [2, 1]


def test_embeddings_that_are_not_finite_are_refused(packed):
    encoder = untrained(ENCODER, 80, 1, 0)
    encoder.embed.bias.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError):
        extract_embeddings(encoder, LogMel(FeatureSettings()), PackedCorpus(*packed.paths), RUNTIME)


def test_a_model_file_gives_the_same_encoder(tmp_path):
    encoder = untrained(ENCODER, 80, 3, 0)
    encoder(torch.randn(4, 60, 80))
    save_model(tmp_path / "model.pt", ENCODER, FeatureSettings(), encoder.state_dict(), stage="test", seed=3)
    model, features = load_model(tmp_path / "model.pt"), torch.randn(2, 60, 80)
    assert torch.equal(model.encoder(features), encoder.eval()(features))
    assert model.provenance["seed"] == 3


@pytest.mark.parametrize("content", [b"", b"not a model", {"weights": {}}, [1, 2]])
def test_what_is_no_model_is_refused_by_name(content, tmp_path):
    path = tmp_path / "model.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=r"model\.pt"):
        load_model(path)


class Payload:
    def __reduce__(self):
        return print, ("executed",)


def test_a_model_file_cannot_run_code(tmp_path, capsys):
    torch.save({"encoder": None, "features": {}, "weights": {}, "provenance": Payload()}, tmp_path / "model.pt")
    with pytest.raises(InputError, match="cannot be read"):
        load_model(tmp_path / "model.pt")
    assert "executed" not in capsys.readouterr().out
