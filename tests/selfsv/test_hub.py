"""Models that travel: uploaded to a stand-in for a hub, fetched from it by name, and what its card says of them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard

import selfsv
from selfsv.inference.export import Contents, export
from selfsv.inference.hub import is_name
from tests.conftest import REPOSITORY
from tests.selfsv.conftest import recording
from tests.selfsv.hub_server import TOKEN, Hub, served

NAME = "voices/small.1"
ROW = {"system": "iter_1", "trials": "my list", "targets": 10, "nontargets": 20, "resampled": "speakers", "units": 12}
ENDS = {"eer_low": 0.02, "eer_high": 0.25, "min_dcf_low": 0.3, "min_dcf_high": 0.9}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with served() as found:
        yield found


@pytest.fixture
def folder(experiment, tmp_path) -> Path:
    """An exported model of an experiment that was measured."""
    shutil.copytree(experiment.folder, tmp_path / "measured")
    rows = [{**ROW, "norm": norm, "eer": eer, "min_dcf": 0.5, **ENDS} for norm, eer in (("cosine", 0.125), ("snorm", 0.0625))]
    pd.DataFrame(rows).to_parquet(tmp_path / "measured" / "metrics.parquet")
    export(tmp_path / "measured", tmp_path / "model", Contents("a model", "cc-by-4.0"))
    return tmp_path / "model"


@pytest.fixture
def program(hub, tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Python with the stand-in as its hub and an empty cache; huggingface_hub reads both when it is imported."""

    def run(*arguments: object, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
        here = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        there = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "cache"), "HF_TOKEN": token, "no_proxy": "127.0.0.1"}
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, env={**os.environ, **here, **there}, capture_output=True, text=True, cwd=tmp_path)

    return run


def test_a_model_goes_to_the_hub_and_comes_back(hub, folder, program, experiment):
    done = program("-m", "selfsv", "push", folder, NAME)
    assert done.returncode == 0 and done.stdout == f"{NAME}: {hub.endpoint}/{NAME}\n", done.stderr
    for name in ("config.json", "model.safetensors"):
        assert hub.models[NAME][name] == (folder / name).read_bytes()
    path = recording(experiment.utterances[0])
    code = f"import selfsv, sys; m = selfsv.load({NAME!r}, 'cpu'); print([m.name, m.fingerprint, m.embed_file(sys.argv[1]).tolist()])"
    name, fingerprint, embedding = json.loads(program("-c", code, path).stdout.replace("'", '"'))
    model = selfsv.load(folder, "cpu")
    assert (name, fingerprint) == (NAME, model.fingerprint)
    assert embedding == pytest.approx(model.embed_file(path).tolist(), abs=1e-4)
    assert program("-m", "selfsv", "verify", "--model", NAME, "--threshold", "0.9", path, path).returncode == 0
    assert NAME in program("-m", "selfsv", "inspect", NAME).stdout


def test_the_card_says_how_good_it_is_as_hubs_read_it(hub, folder, program, tmp_path):
    assert program("-m", "selfsv", "push", folder, NAME).returncode == 0
    (tmp_path / "card.md").write_bytes(hub.models[NAME]["README.md"])
    card = ModelCard.load(tmp_path / "card.md")
    assert card.data.license == "cc-by-4.0" and card.data.model_name == "small.1"
    found = {(result.metric_type, result.metric_args["norm"]): result for result in card.data.eval_results}
    assert found.keys() == {(kind, norm) for kind in ("equal-error-rate", "min-dcf") for norm in ("cosine", "snorm")}
    rate, cost = found["equal-error-rate", "snorm"], found["min-dcf", "cosine"]
    assert rate.metric_value == 6.25 and rate.metric_args["interval_95"] == [2, 25] and rate.metric_args["units"] == 12
    assert cost.metric_value == 0.5 and cost.metric_args["interval_95"] == [0.3, 0.9] and cost.metric_args["p_target"] == 0.01
    assert rate.dataset_name == "my list" and rate.task_type == "speaker-verification"
    text = card.text
    assert "| my list | s-norm | 6.25 [2.00, 25.00] | 0.500 [0.300, 0.900] | 10 | 20 |" in text
    assert text == ModelCard.load(folder / "README.md").text  # the page itself is the exported one


def test_a_hub_that_refuses_is_one_clear_error(hub, folder, program):
    done = program("-m", "selfsv", "push", folder, NAME, token="wrong")
    assert done.returncode == 2 and f"cannot be uploaded to {hub.endpoint}" in done.stderr and "401" in done.stderr
    assert "Traceback" not in done.stderr and not hub.models


def test_a_model_that_is_nowhere_is_one_clear_error(hub, program):
    done = program("-m", "selfsv", "inspect", "voices/nobody")
    assert done.returncode == 2 and "voices/nobody is neither here nor can it be had from" in done.stderr and "404" in done.stderr
    hub.models["voices/other"] = {"config.json": b"{}", "README.md": b"another project's"}
    done = program("-m", "selfsv", "inspect", "voices/other")
    assert done.returncode == 2 and "is no model of this project: it has no model.safetensors" in done.stderr


def test_what_is_or_looks_local_is_never_asked_for(hub, folder, program):
    done = program("-m", "selfsv", "inspect", folder)
    assert done.returncode == 0 and "my list" in done.stdout, done.stderr
    (folder.parent / "results").mkdir()
    done = program("-m", "selfsv", "inspect", "results/dmeo")
    assert done.returncode == 2 and "does not exist" in done.stderr
    assert hub.asked == []


@pytest.mark.parametrize("name", ["model", "a/b/c", "../model", "a/", "a b/c", "/a/b", "-a/b"])
def test_names_that_are_no_models_of_a_hub(name, folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert not is_name(Path(name))


def test_only_an_exported_folder_is_uploaded(hub, experiment, program):
    done = program("-m", "selfsv", "push", experiment.folder, NAME)
    assert done.returncode == 2 and "selfsv export" in done.stderr
    assert hub.asked == []


def test_without_the_package_it_is_said(experiment, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(selfsv.InputError, match=r"voices/nobody does not exist here.*selfsv\[hub\]"):
        selfsv.load("voices/nobody", "cpu")


def test_the_safetensors_file_alone_is_the_model(folder, tmp_path, experiment):
    (tmp_path / "alone").mkdir()
    shutil.copy(folder / "model.safetensors", tmp_path / "alone" / "voice.safetensors")
    whole, alone = selfsv.load(folder, "cpu"), selfsv.load(tmp_path / "alone" / "voice.safetensors", "cpu")
    path = recording(experiment.utterances[0])
    assert torch.equal(whole.embed_file(path), alone.embed_file(path))
    pair = experiment.embeddings[:2]
    assert whole.compare(*pair, norm="snorm") == alone.compare(*pair, norm="snorm")
    config = json.loads((folder / "config.json").read_text())
    assert config["metrics"][0]["eer_high"] == 0.25 and config["version"] == 1
