"""Files of tensors that carry a program, or lie about what they hold: refused by name, not run, not believed."""

import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from selfsv.artifacts import load_torch, map_shards, write_table
from selfsv.data.banks import load_bank
from selfsv.data.corpus import PackedCorpus
from selfsv.data.faces import PackedFaces
from selfsv.engine.checkpoints import StateFile
from selfsv.errors import InputError
from selfsv.models.face_model import load_face_model
from selfsv.models.model_file import load_model, save_model
from selfsv.report.collect import Results
from selfsv.settings.audio import FeatureSettings
from selfsv.settings.encoder import EncoderSettings
from selfsv.settings.experiment import resolve
from selfsv.settings.faces import FaceEncoderSettings
from tests.hostile.conftest import Payload, refused, run_stage

PLACES = {"utterance": ["a"], "shard": [0], "offset": [0]}


def corpus(shard: Path) -> None:
    manifest = shard.with_name("manifest.parquet")
    write_table(manifest, pd.DataFrame({**PLACES, "num_samples": [1], "status": ["ok"]}))
    PackedCorpus(manifest, [shard])


def faces(shard: Path) -> None:
    index = shard.with_name("faces.parquet")
    write_table(index, pd.DataFrame({**PLACES, "num_bytes": [1]}))
    PackedFaces(index, [shard], np.array(["a"]))


def provenance(path: Path) -> None:
    target = path.parent / "iter_0" / "model.pt"
    target.parent.mkdir()
    path.rename(target)
    settings = resolve({"experiment": "x", "corpora": {"train": {"layout": "folder", "path": "a"}}})
    Results(path.parent, settings).provenance("iter_0")


READERS: dict[str, Callable[[Path], Any]] = {
    "any file": load_torch,
    "mapped file": lambda path: load_torch(path, mmap=True),
    "shard of audio": corpus,
    "shard of faces": faces,
    "bank": load_bank,
    "model": load_model,
    "face model": load_face_model,
    "provenance in the report": provenance,
}


def plain_pickle(path: Path, value: object) -> None:
    path.write_bytes(pickle.dumps(value))


def old_format(path: Path, value: object) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("write", [lambda path, value: torch.save(value, path), old_format, plain_pickle], ids=["zip", "old", "pickle"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_program_is_refused_and_not_run(tmp_path, reader, write, nested):
    path = tmp_path / "file.pt"
    payload = Payload(tmp_path / "pwned")
    content = {"weights": {"a": torch.zeros(1)}, "encoder": None, "features": {}, "provenance": payload, "samples": payload}
    write(path, content if nested else payload)
    with pytest.raises(InputError) as caught:
        READERS[reader](path)
    assert ".pt" in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert "weights_only" not in str(caught.value), "advises to run it"


def test_the_payload_would_run(tmp_path):
    plain_pickle(tmp_path / "file.pt", Payload(tmp_path / "made"))
    pickle.loads((tmp_path / "file.pt").read_bytes())
    assert (tmp_path / "made").exists()


def test_a_state_with_a_program_is_passed_over(tmp_path, caplog):
    state = StateFile(tmp_path, "pretrain", "key")
    state.save({"epoch": 1})
    state.save({"epoch": Payload(tmp_path / "pwned")})
    assert state.load() == {"epoch": 1}
    assert "pretrain-key.000001" in caplog.text and "refused" in caplog.text


def test_a_stage_ends_in_one_message(tmp_path):
    torch.save(Payload(tmp_path / "pwned"), tmp_path / "model.pt")
    refused(run_stage("adopt", "--initial-model=model.pt", "--model=out.pt", folder=tmp_path), "model.pt")
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "content", [None, 7, "text", [], {}, {"weights": 3}, torch.zeros(3, 3), torch.zeros(3), {1: torch.zeros(2)}], ids=repr
)
def test_other_content_is_refused_by_name(tmp_path, reader, content):
    path = tmp_path / "file.pt"
    torch.save(content, path)
    if reader in ("any file", "mapped file"):
        READERS[reader](path)
        return
    with pytest.raises(InputError, match=r"\.pt"):
        READERS[reader](path)


def forged(path: Path, changes: dict[bytes, bytes]) -> None:
    """Change the pickle inside a Torch file."""
    with zipfile.ZipFile(path) as source:
        entries = {info.filename: source.read(info) for info in source.infolist()}
    with zipfile.ZipFile(path, "w") as target:
        for name, content in entries.items():
            for old, new in changes.items() if name.endswith("data.pkl") else ():
                assert old in content
                content = content.replace(old, new)
            target.writestr(name, content)


@pytest.mark.parametrize("mmap", [False, True])
def test_a_tensor_larger_than_its_file_is_refused(tmp_path, mmap):
    path = tmp_path / "file.pt"
    torch.save({"x": torch.zeros(1).expand(10**12)}, path)
    with pytest.raises(InputError, match="larger than the file"):
        load_torch(path, mmap=mmap)
    torch.save({"x": torch.arange(10, dtype=torch.int16)}, path)
    forged(path, {b"cpuq\x06K\x0at": b"cpuq\x06J\x00\x00\x00\x10t", b"K\x00K\x0a\x85": b"K\x00J\x00\x00\x00\x10\x85"})
    with pytest.raises(InputError, match=r"file\.pt"):
        load_torch(path, mmap=mmap)


@pytest.mark.parametrize("mmap", [False, True])
def test_a_damaged_file_is_refused_wherever_it_is_damaged(tmp_path, mmap):
    path = tmp_path / "file.pt"
    torch.save({"x": torch.arange(100), "y": [1.5, "text", None, (True, {"z": 2})]}, path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged if rng.random() < 0.8 else damaged[: int(rng.integers(len(whole)))])
        with suppress(InputError):
            load_torch(path, mmap=mmap)


BANK = {
    "samples": torch.zeros(9, dtype=torch.int16),
    "start": torch.tensor([0]),
    "length": torch.tensor([9]),
    "kind": torch.tensor([0]),
    "kinds": ["noise"],
}


@pytest.mark.parametrize(
    "change",
    [
        {"start": torch.tensor([2**63 - 1])},
        {"start": torch.tensor([-1])},
        {"length": torch.tensor([2**63 - 1])},
        {"length": torch.tensor([0])},
        {"kind": torch.tensor([2**40])},
        {"kind": torch.tensor([-1])},
        {"kinds": 5},
        {"kinds": [5]},
        {"start": torch.tensor([float("nan")])},
    ],
    ids=repr,
)
def test_a_bank_that_points_elsewhere_is_refused(tmp_path, change):
    path = tmp_path / "noise.pt"
    torch.save(BANK, path)
    assert len(load_bank(path)) == 1
    torch.save({**BANK, **change}, path)
    with pytest.raises(InputError, match=r"noise\.pt"):
        load_bank(path)


SMALL = EncoderSettings(channels=8, mfa_channels=8, bottleneck=4, embedding=4, embedding_batchnorm=False)


@pytest.mark.parametrize(
    "change",
    [
        {"encoder": {"channels": 8 * 10**8}},
        {"encoder": {**SMALL.model_dump(mode="json"), "embedding": 10**12}},
        {"encoder": {"channels": -8}},
        {"encoder": {"architecture": "resnet34", "resnet34": {"channels": 4096}}},
        {"encoder": {"architecture": "resnet34", "resnet34": {"channels": 10**12}}},
        {"encoder": {"architecture": "res2net50", "res2net50": {"scale": 10**9}}},
        {"encoder": {"architecture": "campplus"}},
        {"encoder": "x"},
        {"features": {"mel_bins": 10**12}},
        {"features": {"frame_ms": 1e12}},
        {"weights": {}},
        {"weights": []},
        {"weights": {"a": 1}},
    ],
    ids=repr,
)
def test_a_model_is_built_only_as_large_as_its_weights(tmp_path, change):
    path = tmp_path / "model.pt"
    from selfsv.models.encoders import untrained

    save_model(path, SMALL, FeatureSettings(), untrained(SMALL, 80, 0, 0).state_dict())
    load_model(path)
    torch.save({**torch.load(path, weights_only=True), **change}, path)
    with pytest.raises(InputError, match=r"model\.pt"):
        load_model(path)


def test_a_face_model_is_built_only_as_large_as_its_weights(tmp_path):
    path = tmp_path / "face_model.pt"
    content = {"face_encoder": FaceEncoderSettings(width=10**6).model_dump(mode="json"), "weights": {}, "provenance": {}}
    torch.save(content, path)
    with pytest.raises(InputError, match=r"face_model\.pt"):
        load_face_model(path)


def test_a_shard_is_a_flat_tensor_of_its_type(tmp_path):
    path = tmp_path / "audio-0.pt"
    for wrong in (torch.zeros(4), torch.zeros(2, 2, dtype=torch.int16), {"x": torch.zeros(4, dtype=torch.int16)}):
        torch.save(wrong, path)
        with pytest.raises(InputError, match="audio-0"):
            map_shards([path], np.int16)
