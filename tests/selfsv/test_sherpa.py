"""The graph for sherpa-onnx, in the package sherpa-onnx itself, on real recordings of talkers that nothing was fitted to."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import sherpa_onnx
import soundfile
import torch
from sklearn.metrics.pairwise import cosine_similarity

import selfsv
from selfsv.data.augment import normalise_peak
from selfsv.data.features import LogMel
from selfsv.inference.export import Contents, cosine_threshold, export
from selfsv.inference.sample import LONGEST_SECONDS, real_waves
from selfsv.inference.sherpa_graph import LEAST_COSINE, energy_map, extractor, sherpa_embedding, sherpa_energies
from selfsv.models.encoders import untrained
from selfsv.models.model_file import save_model
from selfsv.scoring.calibration import Calibration, Rated
from selfsv.settings.audio import FeatureSettings
from tests.conftest import REPOSITORY, recordings
from tests.selfsv.conftest import ENCODER, VOICES

SAME_DECISIONS = 0.97  # share of the pairs of recordings


def waves(split: str, talkers: int, each: int) -> list[np.ndarray]:
    return [soundfile.read(path, dtype="float32")[0] for path in recordings(split, talkers, each)]


def exported(source: Path, place: Path, *options: object) -> subprocess.CompletedProcess[str]:
    """`selfsv export --sherpa`; in a process of its own, see test_export.py."""
    command = [sys.executable, "-m", "selfsv", "export", source, "--into", place, "--sherpa", "--json", *map(str, options)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def graph(experiment, tmp_path_factory) -> Path:
    """Fitted to and checked with training talkers."""
    place = tmp_path_factory.mktemp("sherpa") / "model"
    files = recordings("dev", 20, 2)
    done = exported(experiment.folder, place, "--recordings", *files)
    assert done.returncode == 0, done.stderr
    assert "20 recordings" in json.loads(done.stdout)["sherpa"]
    assert json.loads(done.stdout)["sherpa"] in (place / "README.md").read_text()
    return place / "sherpa.onnx"


def test_embeddings_and_decisions_are_the_models(graph, experiment):
    """Mean subtraction included; the stated tolerance is `LEAST_COSINE` on average, and `SAME_DECISIONS` at any quartile of the scores."""
    model, other = selfsv.load(experiment.folder, "cpu"), extractor(sherpa_onnx, graph)
    voices = waves("test", 12, 5)
    ours = model.directions(np.stack([model.embed(wave).numpy() for wave in voices]))
    theirs = np.stack([sherpa_embedding(other, wave) for wave in voices])
    assert other.dim == theirs.shape[1] == ENCODER.embedding
    assert np.diag(cosine_similarity(ours, theirs)).mean() >= LEAST_COSINE
    first, second = np.triu_indices(len(voices), 1)
    scores, their_scores = ((cosine_similarity(rows))[first, second] for rows in (ours, theirs))
    for threshold in np.quantile(scores, (0.25, 0.5, 0.75)):
        assert np.mean((scores >= threshold) == (their_scores >= threshold)) >= SAME_DECISIONS


def test_sherpas_manager_enrols_and_verifies(graph, experiment):
    model, other = selfsv.load(experiment.folder, "cpu"), extractor(sherpa_onnx, graph)
    first, second = waves("test", 2, 1)
    manager = sherpa_onnx.SpeakerEmbeddingManager(other.dim)
    assert manager.add("first", sherpa_embedding(other, first).tolist())
    score = model.compare(model.embed(first), model.embed(second))
    assert manager.score("first", sherpa_embedding(other, second).tolist()) == pytest.approx(score, abs=0.1)
    assert manager.verify("first", sherpa_embedding(other, first).tolist(), 0.999)


def test_the_pages_python_runs(graph, tmp_path, monkeypatch, capsys):
    (tmp_path / "my-model").symlink_to(graph.parent)
    for name, path in zip(("ada-1", "ada-2", "unknown"), [*recordings("test", 1, 2), recordings("test", 1, 2)[0]], strict=True):
        soundfile.write(tmp_path / f"{name}.wav", soundfile.read(path)[0], 16_000)
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "sherpa-onnx.md").read_text(), re.DOTALL)
    exec(compile(code, "sherpa-onnx.md", "exec"), {})
    assert capsys.readouterr().out == "True\nAda\n"


def test_how_loud_a_recording_is_changes_nothing(graph):
    """The model's own way with it is peak normalisation."""
    other, wave = extractor(sherpa_onnx, graph), waves("test", 1, 1)[0]
    loud, quiet = (sherpa_embedding(other, factor * wave) for factor in (1.0, 0.1))
    assert cosine_similarity(loud[None], quiet[None]) >= 0.99


def test_a_model_too_far_away_is_refused(experiment, tmp_path):
    done = exported(experiment.folder, tmp_path / "model", "--recordings", VOICES, "--least-cosine", 1)
    assert done.returncode == 2 and "cosine between embeddings by sherpa-onnx" in done.stderr and "less than 1" in done.stderr
    assert list(tmp_path.iterdir()) == []


def identity_graph(path: Path) -> None:
    """A graph that gives sherpa-onnx's energies back, one row after the other."""
    node = onnx.helper.make_node("Reshape", ["features", "shape"], ["embedding"])
    shape = onnx.numpy_helper.from_array(np.array([1, -1]), "shape")
    inputs = [onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["B", "T", 80])]
    outputs = [onnx.helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, ["B", "D"])]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "identity", inputs, outputs, [shape]),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=10,
    )
    facts = {"framework": "wespeaker", "language": "any", "sample_rate": "16000", "output_dim": "80", "normalize_samples": "0"}
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, path)


def test_the_energies_are_what_sherpa_computes(tmp_path):
    identity_graph(tmp_path / "identity.onnx")
    given = extractor(sherpa_onnx, tmp_path / "identity.onnx")
    for wave in waves("test", 4, 1):
        expected = sherpa_embedding(given, wave).reshape(-1, 80)
        np.testing.assert_allclose(sherpa_energies(torch.from_numpy(wave)).numpy(), expected, atol=0.02)


def test_the_map_brings_energies_nearer_to_the_models():
    """On talkers that it was not fitted to: less than half of the mean squared difference is left."""
    log_mel = LogMel(FeatureSettings())
    fitted = energy_map(log_mel, [torch.from_numpy(wave) for wave in waves("dev", 10, 2)])
    before, after = [], []
    for wave in waves("test", 6, 2):
        tensor = torch.from_numpy(wave)
        ours, theirs = log_mel(normalise_peak(tensor[None]))[0].numpy(), sherpa_energies(tensor).numpy()
        inside = np.arange(1, len(ours) - 2)
        mapped = np.concatenate([theirs[inside + offset] for offset in (-1, 0, 1, 2)], axis=1) @ fitted
        for values, differences in ((theirs[inside], before), (mapped, after)):
            error = (values - values.mean(axis=0)) - (ours[inside] - ours[inside].mean(axis=0))
            differences.append(np.square(error).mean())
    assert np.mean(after) < 0.5 * np.mean(before)


def test_recordings_come_from_the_packed_corpus(experiment, packed, tmp_path):
    shutil.copytree(experiment.folder, tmp_path / "small")
    data = tmp_path / "small" / "data" / "train"
    data.mkdir(parents=True)
    manifest, shards = packed.paths
    for path in (manifest, *shards):
        shutil.copy(path, data / path.name)
    found = real_waves(tmp_path / "small" / "iter_1" / "model.pt", [])
    expected = [soundfile.read(path, dtype="float32")[0] for path in recordings("dev", 6, 4)]
    longest = LONGEST_SECONDS * 16_000
    assert {len(wave) for wave in found} == {min(len(wave), longest) for wave in expected if len(wave) >= 16_000}
    np.testing.assert_allclose(found[0], expected[0][:longest], atol=1e-4)


def test_what_cannot_be_exported_is_said(experiment, tmp_path):
    voices = [str(path) for path in recordings("dev", 5, 2)]
    for contents, message in (
        (Contents("x", "y", sherpa=True), "--recordings PATH"),
        (Contents("x", "y", sherpa=True, recordings=voices[:4]), "4 recordings are too few"),
    ):
        with pytest.raises(selfsv.InputError, match=message):
            export(experiment.folder, tmp_path / "out", contents)
    features = FeatureSettings(mel_bins=40)
    save_model(tmp_path / "model.pt", ENCODER, features, untrained(ENCODER, features.mel_bins, 1, 1).state_dict(), stage="train")
    with pytest.raises(selfsv.InputError, match="this model has 40 of 25 ms"):
        export(tmp_path / "model.pt", tmp_path / "out", Contents("x", "y", sherpa=True, recordings=voices))
    assert not (tmp_path / "out").exists()


def test_the_threshold_is_where_both_answers_are_equally_likely(experiment, tmp_path):
    shutil.copytree(experiment.folder, tmp_path / "calibrated")
    cosine = Calibration("cosine", -9.0, 12.0)
    rows = [
        {**Calibration("snorm", -3.0, 2.0)._asdict(), "quality": False, "chosen": True},
        {**cosine._asdict(), "quality": False, "chosen": False},
        {**Calibration("cosine", -1.0, 3.0, 1.0)._asdict(), "quality": True, "chosen": False},
    ]
    file = tmp_path / "calibrated" / "iter_1" / "model.pt"
    pd.DataFrame(rows).to_parquet(file.parent / "calibration.parquet")
    threshold = cosine_threshold(file)
    assert threshold is not None
    assert cosine.llr(Rated(np.array([threshold]), np.ones(1), np.zeros(1))) == pytest.approx(0.0)
    assert cosine_threshold(experiment.model) is None
