"""Snakemake itself among hostile names: real stages in a working directory that a shell would run, and configurations it must refuse."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.hostile.conftest import REPOSITORY, UNUSABLE, USABLE, write_voice
from tests.hostile.test_settings import bomb
from tests.workflow.conftest import Server

WORKING_DIRECTORY = 'it\'s $(touch pwned) `touch pwned`; touch pwned & "é" <b> {x} %s #'
TRAP = "import os\nos.mkdir('pwned')\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Runs Snakemake for all tests."""
    started = Server(tmp_path_factory.mktemp("server"))
    yield started
    started.stop()


def everything_below(folder: Path) -> set[str]:
    return {os.path.relpath(os.path.join(parent, name), folder) for parent, _, names in os.walk(folder) for name in names}


def test_a_real_run_among_hostile_names(tmp_path):
    folder = tmp_path / WORKING_DIRECTORY
    for number, name in enumerate([os.fsencode(name) for name in USABLE] + UNUSABLE):
        write_voice(os.fsencode(folder) + b"/-audio;touch pwned/" + name + b"/" + name + b".wav", seed=number)
    for module in ("json", "random", "numpy", "torch", "pipeline", "selfsv", "soundfile", "sitecustomize"):
        (folder / f"{module}.py").write_text(TRAP)
    table = pd.DataFrame(
        {"path": [f"-audio;touch pwned/{name}/{name}.wav" for name in USABLE], "utterance": [f"../../{n}" for n in USABLE]}
    )
    table.to_csv(folder / "-list $(touch pwned) 'it.csv", index=False)
    config = {
        "experiment": "x",
        "corpora": {
            "train": {"layout": "folder", "path": "-audio;touch pwned"},
            "test": {"layout": "listing", "path": "-list $(touch pwned) 'it.csv"},
        },
        "trials": {},
        "pack": {"shards": 1},
        "rejection": {"max_rejected": 0.9},
        "runtime": {"device": "cpu", "threads": 1},
    }
    (folder / "-c $(touch pwned).yaml").write_text(yaml.safe_dump(config))
    before = everything_below(tmp_path)
    command = [str(Path(sys.executable).with_name("snakemake")), "--cores", "2", "--snakefile", str(REPOSITORY / "Snakefile")]
    command += ["--configfile", str(folder / "-c $(touch pwned).yaml")]
    command += ["--", *(f"results/x/data/{corpus}/manifest.parquet" for corpus in ("train", "test"))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env={**environment, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-4000:]
    made = everything_below(tmp_path) - before
    outside = {path for path in made if not path.startswith((f"{folder.name}/results/x/", f"{folder.name}/.snakemake/"))}
    assert not {path for path in outside if "__pycache__" not in path}
    train = pd.read_parquet(folder / "results/x/data/train/manifest.parquet")
    assert (train["status"] == "ok").sum() == len(USABLE)
    assert (train["status"] == "rejected").sum() == len(UNUSABLE) and (train.loc[train["status"] == "rejected", "reason"] != "").all()
    test = pd.read_parquet(folder / "results/x/data/test/manifest.parquet")
    assert (test["status"] == "ok").all() and len(test) == len(USABLE)
    logs = "".join(path.read_text() for path in (folder / "results/x/logs").iterdir())
    assert "\x1b" not in logs and "\x1b" not in done.stderr


BASE = {"experiment": "x", "corpora": {"train": {"layout": "folder", "path": "a"}}, "trials": {}}
NAMES = ("../$(touch pwned)", "\x1b[31m")
REFUSED = {
    **{f"experiment {name!r}": (yaml.safe_dump({**BASE, "experiment": name}), "config key 'experiment'") for name in NAMES},
    "corpus": (yaml.safe_dump({**BASE, "corpora": {**BASE["corpora"], "../x": {"layout": "folder", "path": "a"}}}), "corpora.../x"),
    "unknown": (yaml.safe_dump({**BASE, "\x1b[31mred": 1}), "unknown config key '\\x1b[31mred'"),
    "twice": ("experiment: x\nseed: 1\nexperiment: y\n", "line 3: the key 'experiment' is there twice"),
    "twice in JSON": ('{"experiment": "x", "experiment": "y"}', "the key 'experiment' is there twice"),
    "a call": ("experiment: !!python/object/apply:os.mkdir [pwned]\n", "not valid JSON or YAML"),
    "an object": ("experiment: !!python/object/new:os.mkdir [pwned]\n", "not valid JSON or YAML"),
    "list bomb": (bomb("[x, x]", "experiment"), "config key 'experiment'"),
    "a list": ("[1, 2]\n", "keys at top level"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_configuration_is_refused_before_anything_is_made(tmp_path, server, name):
    text, expected = REFUSED[name]
    (tmp_path / "overlay.yaml").write_text(text)
    arguments = ["--cores", "1", "--dry-run", "--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", "overlay.yaml"]
    done = server.snakemake(tmp_path, *arguments)
    assert done.status == 1
    assert expected in done.told, done.told[-2000:]
    assert "Traceback" not in done.told and "\x1b[31m" not in done.told
    assert not (tmp_path / "results").exists()


def test_a_configuration_nested_too_deeply_ends_at_once(tmp_path, server):
    """Snakemake's reader, not ours: it gives up with an error of its own, and nothing is made."""
    (tmp_path / "overlay.yaml").write_text("experiment: " + "[" * 5000 + "]" * 5000)
    arguments = ["--cores", "1", "--dry-run", "--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", "overlay.yaml"]
    done = server.snakemake(tmp_path, *arguments)
    assert done.status != 0
    assert not (tmp_path / "results").exists()
