"""The package against the stages of the workflow, scipy and scikit-learn."""

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from scipy.signal import resample_poly
from sklearn.metrics.pairwise import cosine_similarity

import selfsv
from selfsv.data.augment import normalise_peak
from selfsv.data.corpus import PackedCorpus
from selfsv.engine.extraction import extract_embeddings
from selfsv.engine.runtime import Runtime
from selfsv.inference import speaker_model
from tests.conftest import SPEECH
from tests.selfsv.conftest import recording


@pytest.fixture(scope="module")
def model(experiment):
    return selfsv.load(experiment.folder, "cpu")


def test_files_get_the_workflows_embeddings(model, experiment):
    paths = [str(recording(name)) for name in experiment.utterances]
    found = np.stack([voice.embedding for voice in model.embed_files(paths, threads=2)])
    np.testing.assert_allclose(found, experiment.embeddings, atol=1e-4)
    one = model.embed_file(paths[3])
    torch.testing.assert_close(one, torch.from_numpy(experiment.embeddings[3]), atol=1e-4, rtol=0)


def test_waveforms_get_the_embeddings_of_their_files(model, experiment):
    path = recording(experiment.utterances[0])
    samples, _ = soundfile.read(path, dtype="float32")
    torch.testing.assert_close(model.embed(samples), model.embed_file(path), atol=1e-4, rtol=0)
    batch = torch.from_numpy(samples[: 2 * 16000 * (len(samples) // 32000)]).reshape(-1, 32000)
    together = model.embed(batch)
    assert together.shape == (len(batch), 24)
    torch.testing.assert_close(together[1], model.embed(batch[1]), atol=1e-5, rtol=0)


def test_other_rates_are_resampled(model, experiment):
    samples, _ = soundfile.read(recording(experiment.utterances[0]), dtype="float32")
    faster = resample_poly(samples, 3, 1).astype(np.float32)  # 48 kHz
    cosine = cosine_similarity(model.embed(faster, rate=48_000)[None], model.embed(samples)[None])
    assert cosine > 0.999
    assert cosine > cosine_similarity(model.embed(faster)[None], model.embed(samples)[None])


def test_cosines_are_scikit_learns(model, experiment):
    mean = experiment.embeddings.mean(axis=0)
    expected = cosine_similarity(experiment.embeddings[:5] - mean, experiment.embeddings[5:9] - mean)
    np.testing.assert_allclose(model.compare_all(experiment.embeddings[:5], experiment.embeddings[5:9]), expected, atol=1e-5)
    assert model.compare(experiment.embeddings[0], experiment.embeddings[6]) == pytest.approx(expected[0, 1], abs=1e-5)


def test_s_norm_is_that_of_a_loop(model, experiment):
    """Matejka et al., 2017, written out; the cohort: the mean embedding of each of the six clusters."""
    clusters = [
        experiment.embeddings[[name == speaker for name in experiment.speakers]].mean(axis=0) for speaker in set(experiment.speakers)
    ]
    mean = experiment.embeddings.mean(axis=0)
    first, second = experiment.embeddings[2], experiment.embeddings[7]
    score = cosine_similarity([first - mean], [second - mean])[0, 0]
    sides = []
    for side in (first, second):
        against = cosine_similarity([side - mean], np.stack(clusters) - mean)[0]
        sides.append((score - against.mean()) / against.std())
    assert model.compare(first, second, norm="snorm") == pytest.approx(np.mean(sides), abs=1e-3)


def test_a_bare_model_compares_by_plain_cosine(experiment, tmp_path):
    (tmp_path / "model.pt").write_bytes(experiment.model.read_bytes())
    bare = selfsv.load(tmp_path / "model.pt", "cpu")
    expected = cosine_similarity(experiment.embeddings[:1], experiment.embeddings[5:6])[0, 0]
    assert bare.compare(experiment.embeddings[0], experiment.embeddings[5]) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(selfsv.InputError, match=r"model\.pt.*without its training corpus's mean"):
        bare.compare(experiment.embeddings[0], experiment.embeddings[5], norm="snorm")


def test_long_recordings_are_embedded_in_pieces_as_by_the_workflow(model, experiment, tmp_path):
    """250 s: thirds of 83.3 s, in `embed_file`, in `embed` and in the extraction of the workflow."""
    voices = [soundfile.read(recording(name), dtype="int16")[0] for name in experiment.utterances[:8]]
    long = np.resize(np.concatenate(voices), 250 * 16_000)
    soundfile.write(tmp_path / "long.wav", long, 16_000)
    thirds = np.split(long, [len(long) // 3, 2 * len(long) // 3])
    frames = []
    hook = model.encoder.register_forward_pre_hook(lambda _, inputs: frames.append(inputs[0].shape[0] * inputs[0].shape[1]))
    embedding = model.embed_file(tmp_path / "long.wav").numpy()
    whole = model.embed(long / np.float32(32768)).numpy()
    hook.remove()
    assert max(frames) <= 120 * 100
    np.testing.assert_allclose(embedding, np.mean([model.embed(third / np.float32(32768)) for third in thirds], axis=0), atol=1e-4)
    np.testing.assert_allclose(whole, embedding, atol=1e-4)
    manifest = {"utterance": ["long"], "num_samples": [len(long)], "shard": [0], "offset": [0], "status": ["ok"]}
    pd.DataFrame(manifest).to_parquet(tmp_path / "manifest.parquet")
    torch.save(torch.from_numpy(long), tmp_path / "audio-0.pt")
    corpus = PackedCorpus(tmp_path / "manifest.parquet", [tmp_path / "audio-0.pt"])
    runtime = Runtime(torch.device("cpu"), 0, False, False, 600.0)
    np.testing.assert_array_equal(extract_embeddings(model.encoder, model.log_mel, corpus, runtime)[0], embedding)


@pytest.mark.parametrize("talker", sorted(path.name for path in (SPEECH / "test" / "wav").iterdir())[::4])
def test_pieces_mean_what_the_whole_means(model, talker):
    """250 s of one talker; the stated tolerance is a cosine of 0.99."""
    voices = [soundfile.read(path, dtype="float32")[0] for path in sorted((SPEECH / "test" / "wav" / talker).rglob("*.opus"))]
    long = torch.from_numpy(np.resize(np.concatenate(voices), 250 * 16_000))
    with torch.inference_mode():
        whole = model.encoder(model.log_mel(normalise_peak(long[None])))
    assert cosine_similarity(model.directions(whole.numpy()), model.directions(model.embed(long).numpy()[None])) >= 0.99


def test_a_recording_that_memory_does_not_suffice_for_is_left_out(model, experiment, tmp_path):
    """Only that one: the others of its batch get their embeddings."""
    voices = [soundfile.read(recording(name), dtype="int16")[0] for name in experiment.utterances[:3]]
    soundfile.write(tmp_path / "long.wav", np.resize(np.concatenate(voices), 60 * 16_000), 16_000)
    paths = [str(recording(experiment.utterances[0])), str(tmp_path / "long.wav"), str(recording(experiment.utterances[1]))]

    def fail(_: object, inputs: tuple[torch.Tensor, ...]) -> None:
        if inputs[0].shape[1] > 30 * 100:
            torch.empty(1 << 60)  # Torch's own error for more than any machine has

    hook = model.encoder.register_forward_pre_hook(fail)
    results = list(model.embed_files(paths))
    hook.remove()
    np.testing.assert_allclose(np.stack([results[0].embedding, results[2].embedding]), experiment.embeddings[:2], atol=1e-4)
    assert results[1].embedding is None and results[1].reason.startswith("out of memory") and results[1].path == paths[1]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(MemoryError(), "out of memory"), (ValueError("odd\nsecond line"), "failed: ValueError: odd (test_speaker_model.py")],
)
def test_whatever_goes_wrong_in_decoding_leaves_out_one_recording(model, experiment, monkeypatch, error, reason):
    paths = [str(recording(name)) for name in experiment.utterances[:3]]
    decode = speaker_model.load_utterance

    def fails_for_one(path: str, **options: float) -> np.ndarray:
        if path == paths[1]:
            raise error
        return decode(path, **options)

    monkeypatch.setattr(speaker_model, "load_utterance", fails_for_one)
    results = list(model.embed_files(paths, threads=2))
    assert [voice.embedding is None for voice in results] == [False, True, False] and results[1].reason.startswith(reason)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (torch.zeros(16000, dtype=torch.int16), "floats"),
        (torch.zeros(2, 2, 16000), "batch"),
        (torch.zeros(399), "too short"),
        (torch.zeros(0), "too short"),
        (torch.full((16000,), float("nan")), "NaN"),
    ],
)
def test_unusable_waveforms_are_refused(model, waveform, message):
    with pytest.raises(selfsv.InputError, match=message):
        model.embed(waveform)


def test_silence_has_a_finite_embedding(model):
    assert model.embed(torch.zeros(16000)).isfinite().all()


def test_unusable_files_are_named(model, tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(selfsv.InputError, match=r"text\.wav.*not audio"):
        model.embed_file(tmp_path / "text.wav")
    with pytest.raises(selfsv.InputError, match=r"none\.wav"):
        model.embed_file(tmp_path / "none.wav")


def test_embeddings_of_another_size_are_refused(model):
    with pytest.raises(selfsv.InputError, match="24 dimensions"):
        model.compare(np.zeros(192, np.float32), np.zeros(192, np.float32))


def test_an_experiment_stands_for_its_last_round(experiment):
    last, round_1, first = (selfsv.load(path, "cpu") for path in (experiment.folder, experiment.model.parent, experiment.folder / "iter_0"))
    assert last.fingerprint == round_1.fingerprint != first.fingerprint


def test_what_is_no_model_is_refused(tmp_path):
    for path, message in ((tmp_path, "holds no model"), (tmp_path / "nothing", "does not exist")):
        with pytest.raises(selfsv.InputError, match=message):
            selfsv.load(path)
