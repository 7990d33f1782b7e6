"""The exported folder: the same embeddings and scores, on a machine that cannot train; and what is done about damage."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file, save_file
from sklearn.metrics.pairwise import cosine_similarity

import selfsv
from selfsv.inference.export import Contents, export
from selfsv.inference.inspection import described
from selfsv.inference.onnx_model import OnnxModel
from selfsv.models.encoders import untrained
from selfsv.models.model_file import save_model
from selfsv.prepare.decoding import decode
from selfsv.scoring.calibration import Calibration
from selfsv.settings.audio import FeatureSettings
from tests.conftest import REPOSITORY, recordings
from tests.models.small import SMALL
from tests.selfsv.conftest import ENCODER, experiment_in, recording

TRAINING_ONLY = ["faiss", "jinja2", "matplotlib", "pyroomacoustics", "snakemake", "tensorboard", "torchvision", "facenet_pytorch", "onnx"]
NAME, LICENCE = "a model", "cc-by-4.0"
PLAIN = Contents(NAME, LICENCE)


@pytest.fixture(scope="module")
def folder(experiment, tmp_path_factory) -> Path:
    """The experiment's last round, exported with its graph as a user does it.

    In a process of its own: after torch.export no process can be forked any more that is to compute gradients, as other tests do.
    """
    place = tmp_path_factory.mktemp("exported") / "model"
    source = place.parent / "calibrated"
    shutil.copytree(experiment.folder, source)
    rows = [Calibration("snorm", -2.0, 1.5, 0.5, 0.25, "few pairs")._asdict() | {"chosen": True}]
    pd.DataFrame(rows).to_parquet(source / "iter_1" / "calibration.parquet")
    options = ["--name", NAME, "--licence", LICENCE, "--onnx", "--int8"]
    command = [sys.executable, "-m", "selfsv", "export", source, "--into", place, *options]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "model.onnx" in done.stdout, done.stderr
    return place


@pytest.fixture
def plain(experiment, tmp_path) -> Path:
    """The same without a graph, to be damaged."""
    export(experiment.folder, tmp_path / "model", PLAIN)
    return tmp_path / "model"


def test_embeddings_and_scores_are_bit_identical(experiment, folder):
    ours, theirs = selfsv.load(folder, "cpu"), selfsv.load(experiment.folder, "cpu")
    path = recording(experiment.utterances[0])
    assert torch.equal(ours.embed_file(path), theirs.embed_file(path))
    for norm in ("cosine", "snorm"):
        scores = [model.compare_all(experiment.embeddings[:4], experiment.embeddings[4:], norm) for model in (ours, theirs)]
        np.testing.assert_array_equal(*scores)
    assert ours.fingerprint == theirs.fingerprint


def test_the_graph_computes_the_models_embeddings(folder):
    """On real voices of 1 to 20 s."""
    model, session = selfsv.load(folder, "cpu"), onnxruntime.InferenceSession(folder / "model.onnx")
    voices = [decode(str(path)) for path in recordings("test", 4, 3)]
    for seconds in (1.0, 1.7, 3.0, 10.0, 20.0):
        wave = np.concatenate(voices[: 1 + int(seconds // 3)] * 2)[: int(16_000 * seconds)]
        (found,) = session.run(None, {"waveform": wave[None]})
        assert cosine_similarity(found, model.embed(wave)[None]) >= 0.9999, seconds


def test_the_graph_takes_batches_and_extremes(folder):
    model, session = selfsv.load(folder, "cpu"), onnxruntime.InferenceSession(folder / "model.onnx")
    batch = np.stack([decode(str(path))[:32_000] for path in recordings("test", 5, 1)])
    (found,) = session.run(None, {"waveform": batch})
    assert found.shape == (5, 24)
    assert np.diag(cosine_similarity(found, model.embed(batch))).min() >= 0.9999
    for wave in (np.zeros((2, 16_000), np.float32), batch[:1, :400]):  # silence; a single frame
        assert np.isfinite(session.run(None, {"waveform": wave})[0]).all()


def test_the_cards_way_with_long_recordings_is_the_programs(folder, tmp_path, monkeypatch):
    """The code of the card, run as it is, on 250 s of real voices."""
    voice = np.concatenate([decode(str(path)) for path in recordings("test", 4, 3)])
    recording = np.resize(voice, 250 * 16_000)
    soundfile.write(tmp_path / "long.wav", recording, 16_000)
    load, embed = (code for code in re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL) if "session" in code)
    monkeypatch.chdir(folder)
    names = {"waveforms": recording[None, :16_000], "recording": recording}
    exec(compile(load + embed, "README.md", "exec"), names)
    assert cosine_similarity(names["embedding"][None], selfsv.load(folder, "cpu").embed_file(tmp_path / "long.wav")[None]) >= 0.9999


def test_the_graph_says_what_it_is(folder):
    facts = onnxruntime.InferenceSession(folder / "model.onnx").get_modelmeta().custom_metadata_map
    assert str(REPOSITORY).encode() not in (folder / "model.onnx").read_bytes()  # nor where it was made
    expected = {"name": NAME, "licence": LICENCE, "sample_rate": "16000", "fingerprint": selfsv.load(folder, "cpu").fingerprint}
    assert expected.items() <= facts.items()


WITHOUT_PYTORCH = [
    "torch",
    "torchaudio",
    "pandas",
    "pyarrow",
    "sklearn",
    "scipy",
    "pydantic",
    "safetensors",
    "soundfile",
    "av",
    "yaml",
    "tqdm",
]


def test_the_small_class_needs_numpy_and_onnxruntime_alone(folder):
    """In a fresh interpreter where nothing else can be imported; it compares as the program does."""
    voices = np.stack([decode(str(path))[:32_000] for path in recordings("test", 2, 1)])
    np.save(folder.parent / "voices.npy", voices)
    program = f"""
import json, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {WITHOUT_PYTORCH}:
            raise ImportError(f"{{name}} is not on this machine")

sys.meta_path.insert(0, Refuse())
import numpy
from selfsv.inference.onnx_model import OnnxModel
model = OnnxModel(sys.argv[1])
first, second = map(model.embed, numpy.load(sys.argv[2]))
scores = [model.compare(first, second, norm) for norm in ("cosine", "snorm")]
loaded = sorted({{name.partition(".")[0] for name in sys.modules}} & set({WITHOUT_PYTORCH}))
print(json.dumps([model.fingerprint, model.calibration.doubts, *scores, model.llr(first, second, (2.0, 7.0)), loaded]))
"""
    command = [sys.executable, "-c", program, str(folder / "model.onnx"), str(folder.parent / "voices.npy")]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    fingerprint, doubts, cosine, normalised, ratio, loaded = json.loads(done.stdout)
    model = selfsv.load(folder, "cpu")
    first, second = map(model.embed, voices)
    assert (fingerprint, doubts, loaded) == (model.fingerprint, "few pairs", [])
    assert cosine == pytest.approx(model.compare(first, second), abs=1e-4)
    assert normalised == pytest.approx(model.compare(first, second, "snorm"), abs=1e-2)
    assert ratio == pytest.approx(model.llr(first, second, (2.0, 7.0)), abs=2e-2)


def test_the_small_class_cuts_long_recordings_as_the_program_does(folder):
    voice = np.resize(np.concatenate([decode(str(path)) for path in recordings("test", 4, 3)]), 250 * 16_000)
    found = OnnxModel(folder / "model.onnx").embed(voice)
    assert cosine_similarity(found[None], selfsv.load(folder, "cpu").embed(voice)[None]) >= 0.9999


def test_eight_bits_change_little(folder):
    """Real voices; the encoder's products are in 8 bits, and those of the features are not."""
    whole, eight = (OnnxModel(folder / name) for name in ("model.onnx", "model-int8.onnx"))
    voices = [decode(str(path)) for path in recordings("test", 6, 2)]
    first, second = (np.stack([model.embed(voice) for voice in voices]) for model in (whole, eight))
    assert np.diag(cosine_similarity(first, second)).min() >= 0.99 and not np.array_equal(first, second)
    assert eight.fingerprint == whole.fingerprint and np.array_equal(eight.background.cohort, whole.background.cohort)
    given = Counter(node.op_type for node in onnx.load(folder / "model.onnx").graph.node)
    kinds = Counter(node.op_type for node in onnx.load(folder / "model-int8.onnx").graph.node)
    assert kinds["MatMulInteger"] == given["MatMul"] - 2 > 0  # without the spectrum and the mel bands
    assert (folder / "model-int8.onnx").stat().st_size < (folder / "model.onnx").stat().st_size


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros(100, np.float32), "too short"),
        (np.zeros((2, 16_000), np.float32), "is .samples. of floats"),
        (np.zeros(16_000, np.int16), "of int16"),
        (np.full(16_000, np.nan, np.float32), "NaN"),
    ],
)
def test_the_small_class_names_what_is_no_waveform(folder, waveform, message):
    with pytest.raises(selfsv.InputError, match=message):
        OnnxModel(folder / "model.onnx").embed(waveform)


def test_the_small_class_names_what_is_no_graph_of_it(folder, tmp_path):
    (tmp_path / "text.onnx").write_text("no graph")
    graph = onnx.load(folder / "model.onnx")
    facts = {entry.key: entry.value for entry in graph.metadata_props}
    messages = {"text.onnx": "no ONNX graph", "bare.onnx": "no metadata", "cut.onnx": "is damaged"}
    for name, changed_facts in (("bare.onnx", {"name": "x"}), ("cut.onnx", facts | {"cohort": facts["cohort"][:-8]})):
        onnx.helper.set_model_props(graph, changed_facts)
        onnx.save(graph, tmp_path / name)
    for name, message in messages.items():
        with pytest.raises(selfsv.InputError, match=message):
            OnnxModel(tmp_path / name)
    onnx.helper.set_model_props(graph, {key: value for key, value in facts.items() if key not in ("mean", "cohort", "calibration")})
    onnx.save(graph, tmp_path / "without.onnx")
    model = OnnxModel(tmp_path / "without.onnx")
    embedding = model.embed(decode(str(recordings("test", 1, 1)[0])))
    with pytest.raises(selfsv.InputError, match="without a calibration"):
        model.llr(embedding, embedding, (1.0, 1.0))
    with pytest.raises(selfsv.InputError, match="which mean subtraction and s-norm need"):
        model.compare(embedding, embedding, "snorm")


def test_it_works_without_what_training_needs(folder, experiment):
    program = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {TRAINING_ONLY}:
            raise ImportError(f"{{name}} is not on this machine")

sys.meta_path.insert(0, Refuse())
import selfsv
model = selfsv.load(sys.argv[1], "cpu")
print(model.compare(model.embed_file(sys.argv[2]), model.embed_file(sys.argv[2]), norm="snorm") > 0)
"""
    command = [sys.executable, "-c", program, str(folder), str(recording(experiment.utterances[0]))]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_the_card_holds_its_header_and_the_metrics(packed, tmp_path):
    experiment = experiment_in(tmp_path / "measured", packed)
    rows = {"trials": "<b>list</b>|x", "norm": "snorm", "eer": 0.0791, "min_dcf": 0.5, "targets": 10, "nontargets": 20}
    pd.DataFrame([{"system": "iter_1", **rows}, {"system": "iter_0", **rows, "eer": 0.5}]).to_parquet(experiment.folder / "metrics.parquet")
    export(experiment.folder, tmp_path / "out", Contents("# one\n---\nmore: true", '"\n---\ninjected: true'))
    text = (tmp_path / "out" / "README.md").read_text()
    header = yaml.safe_load(text.split("---\n")[1])
    assert header["license"] == '"\n---\ninjected: true' and "injected" not in header and header["library_name"] == "selfsv"
    assert "| 7.91 | 0.500 | 10 | 20 |" in text and "50.00" not in text
    assert "<b>" not in text and "\nmore: true" not in text
    assert str(tmp_path) not in text and str(tmp_path) not in (tmp_path / "out" / "config.json").read_text()


@pytest.mark.parametrize(
    ("provenance", "expected", "absent"),
    [
        ({"stage": "train"}, "trained without speaker labels:", "with labels"),
        (
            {"stage": "finetune", "start": "iter_0", "labels": {"percent": 10, "utterances": 122, "speakers": 38}},
            "then tuned on 122 utterances of 38 speakers **with labels**",
            "labels: CA-DINO",
        ),
        (
            {"stage": "finetune", "start": "random", "labels": {"percent": 100, "utterances": 1225, "speakers": 38}},
            "It was trained on 1,225 utterances of 38 speakers **with labels**, from random weights",
            "without speaker labels",
        ),
    ],
)
def test_the_card_says_who_was_labelled(tmp_path, provenance, expected, absent):
    features = FeatureSettings()
    save_model(tmp_path / "model.pt", ENCODER, features, untrained(ENCODER, features.mel_bins, 1, 1).state_dict(), **provenance)
    export(tmp_path / "model.pt", tmp_path / "out", PLAIN)
    text = (tmp_path / "out" / "README.md").read_text()
    assert expected in text and absent not in text


@pytest.mark.parametrize("architecture", SMALL)
def test_every_encoder_is_exported_and_named(architecture, tmp_path):
    features, settings = FeatureSettings(), SMALL[architecture]
    save_model(tmp_path / "model.pt", settings, features, untrained(settings, features.mel_bins, 1, 1).state_dict(), stage="train")
    export(tmp_path / "model.pt", tmp_path / "out", PLAIN)
    title = described(tmp_path / "out")["model"]["encoder"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert title in card and f"- {architecture.replace('_', '-')}\n" in card
    waves = 0.1 * torch.randn(2, 20_000)
    before, after = (selfsv.load(tmp_path / name, "cpu").embed(waves) for name in ("model.pt", "out"))
    torch.testing.assert_close(before, after)


def test_a_bare_model_is_exported_without_a_background(experiment, tmp_path):
    (tmp_path / "model.pt").write_bytes(experiment.model.read_bytes())
    files = export(tmp_path / "model.pt", tmp_path / "out", PLAIN).files
    assert files == ["README.md", "config.json", "model.safetensors"]
    assert not {"mean", "cohort"} & load_file(tmp_path / "out" / "model.safetensors").keys()
    with pytest.raises(selfsv.InputError, match="s-norm"):
        selfsv.load(tmp_path / "out", "cpu").compare(experiment.embeddings[0], experiment.embeddings[1], norm="snorm")


def test_nothing_is_overwritten_unasked(experiment, plain):
    with pytest.raises(selfsv.InputError, match="not empty"):
        export(experiment.folder, plain, PLAIN)
    (plain / "old").write_text("")
    assert "old" not in export(experiment.folder, plain, PLAIN, replace=True).files


def test_a_failed_export_leaves_nothing(experiment, tmp_path, monkeypatch):
    def fail(*_: object) -> str:
        raise OSError("no space left")

    monkeypatch.setattr("selfsv.inference.export.model_card", fail)
    with pytest.raises(OSError, match="no space"):
        export(experiment.folder, tmp_path / "out", PLAIN)
    assert list(tmp_path.iterdir()) == []


def test_a_baseline_cannot_be_exported(tmp_path):
    save_model(tmp_path / "model.pt", None, FeatureSettings(), {}, stage="baseline")
    with pytest.raises(selfsv.InputError, match="baseline"):
        export(tmp_path / "model.pt", tmp_path / "out", PLAIN)


def changed(folder: Path, **values: object) -> None:
    """Change keys of the exported config; None removes one."""
    config = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def without(folder: Path, name: str) -> None:
    """Leave a tensor out."""
    tensors = load_file(folder / "model.safetensors")
    save_file({key: value for key, value in tensors.items() if key != name}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json is damaged"),
        (lambda folder: (folder / "config.json").write_text("[" * 100_000), r"config\.json is damaged"),
        (lambda folder: (folder / "config.json").write_text("[]"), r"config\.json is not the config"),
        (lambda folder: changed(folder, version=2), "version 2"),
        (lambda folder: changed(folder, cohort_top=None), "cohort_top"),
        (lambda folder: changed(folder, cohort_top="300"), "cohort_top"),
        (lambda folder: changed(folder, encoder={"channels": 10**9}), r"config\.json|model\.safetensors"),
        (lambda folder: os.truncate(folder / "model.safetensors", 1000), r"model\.safetensors is damaged"),
        (lambda folder: without(folder, "encoder.embed.weight"), r"model\.safetensors is no model"),
        (lambda folder: without(folder, "mean"), "mean and cohort"),
    ],
)
def test_damage_is_named(plain, damage, message):
    damage(plain)
    with pytest.raises(selfsv.InputError, match=message):
        selfsv.load(plain, "cpu")
