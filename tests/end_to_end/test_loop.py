"""The whole loop on a cut of the demo corpus, with some hostile files in it, run twice: from two commands to the report."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from snakemake.utils import update_config

REPOSITORY = Path(__file__).parents[2]
DEMO = REPOSITORY / "demo"
ROUNDS = 2
WALL_TIME = ["utterances_per_second", "data_wait_seconds", "seconds"]

SETTINGS = {
    "experiment": "cut",
    "rounds": ROUNDS,
    "rejection": {"max_rejected": 0.1},
    "encoder": {"channels": 16, "mfa_channels": 48, "bottleneck": 8, "embedding": 32},
    "pretrain": {
        "epochs": 3,
        "batch_size": 16,
        "crops": {"long_seconds": 1.0, "short_seconds": 0.5},
        "head": {"hidden": 32, "bottleneck": 16, "prototypes": 64},
        "optimiser": {"warmup_epochs": 1},
        "cluster_aware": {"start_epoch": 2, "every_epochs": 1, "clusters": 20},
    },
    "cluster": {"clusters": 10},
    "train": {
        "epochs": 4,
        "batch_size": 16,
        "crop_seconds": 1.0,
        "aam": {"margin_start_epoch": 0, "margin_full_epoch": 1},
        "gate": {"gate_start_epoch": 2},
    },
}
HOSTILE = {"text.wav": b"not audio at all\n", "empty.wav": b"", "it's $(touch owned) here.wav": b"RIFF"}


def cut_of_the_demo(folder: Path) -> dict[str, object]:
    """A few recordings of a few talkers of each split, hostile files, and the trials that are left; the overlay that names them."""
    for split, talkers, each in (("dev", 12, 6), ("test", 6, 5)):
        for talker in sorted((DEMO / "speech" / split / "wav").iterdir())[:talkers]:
            for file in sorted(talker.rglob("*.opus"))[:each]:
                target = folder / file.relative_to(DEMO)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
    session = next((folder / "speech" / "dev" / "wav").glob("*/*"))
    for name, content in HOSTILE.items():
        (session / name).write_bytes(content)
    kept = [
        line
        for line in (DEMO / "trials.txt").read_text().splitlines()
        if all((folder / "speech/test/wav" / name).exists() for name in line.split()[1:])
    ]
    assert {line[0] for line in kept} == {"0", "1"}
    (folder / "trials.txt").write_text("\n".join(kept))
    return {
        "corpora": {name: {"layout": "voxceleb", "path": f"speech/{split}/wav"} for name, split in (("train", "dev"), ("test", "test"))},
        "trials": {"cut": {"corpus": "test", "path": "trials.txt"}},
        "noise": {"path": str(DEMO / "noise" / "musan")},
        "rirs": {"path": str(DEMO / "noise" / "rirs")},
    }


def run_workflow(folder: Path, workers: int) -> Path:
    """The loop in `folder`, as a user runs it; the experiment's results."""
    overlay = yaml.safe_load((DEMO / "config.yaml").read_text())
    update_config(overlay, SETTINGS)
    overlay |= {**cut_of_the_demo(folder), "runtime": {"device": "cpu", "threads": 1, "workers": workers}}
    (folder / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(folder)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    command += ["--configfile", str(folder / "overlay.yaml")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-5000:] + done.stdout[-2000:]
    return folder / "results" / "cut"


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    return run_workflow(tmp_path_factory.mktemp("first run"), workers=0)


@pytest.fixture(scope="module")
def again(tmp_path_factory, results) -> Path:
    return run_workflow(tmp_path_factory.mktemp("second run"), workers=2)


COLUMNS = {
    "data/train/manifest.parquet": ["utterance", "path", "session", "num_samples", "shard", "offset", "status", "reason"],
    "data/train/speakers.parquet": ["utterance", "speaker"],
    "iter_0/embeddings/train.parquet": ["utterance", "embedding"],
    "iter_0/pseudo_labels.parquet": ["utterance", "label", "similarity"],
    "iter_2/losses.parquet": ["utterance", "loss_clean", "decision"],
    "iter_2/scores/cut.parquet": ["enroll", "test", "target", "cosine", "snorm"],
}


@pytest.mark.parametrize("name", COLUMNS)
def test_artifacts_keep_their_contract(name, results):
    assert pq.read_schema(results / name).names == COLUMNS[name]


def test_every_system_is_scored(results):
    metrics = pd.read_parquet(results / "metrics.parquet")
    systems = {"baseline_fbank", "baseline_untrained", *(f"iter_{i}" for i in range(ROUNDS + 1))}
    assert set(metrics["system"]) == systems and set(metrics["norm"]) == {"cosine", "snorm"}
    assert metrics["eer"].between(0, 1).all() and metrics["min_dcf"].between(0, 1).all()


def test_hostile_files_are_set_aside_with_a_reason_and_run_nothing(results):
    manifest = pd.read_parquet(results / "data" / "train" / "manifest.parquet").set_index("utterance")
    rejected = manifest[manifest["status"] == "rejected"]
    assert {Path(path).name for path in rejected["path"]} == set(HOSTILE)
    assert (rejected["reason"] != "").all()
    assert not list(results.parents[1].rglob("owned"))
    trained_on = pd.read_parquet(results / "iter_1" / "losses.parquet")["utterance"]
    assert set(trained_on) == set(manifest.index[manifest["status"] == "ok"])


def test_models_load_as_plain_tensors_and_say_where_they_come_from(results):
    content = torch.load(results / "iter_2" / "model.pt", weights_only=True)
    assert content["encoder"]["channels"] == 16
    assert {"stage", "iteration", "seed", "config_hash", "code_version"} <= content["provenance"].keys()


def test_each_round_learns_the_labels_of_the_one_before(results):
    for i in range(1, ROUNDS + 1):
        labels = pd.read_parquet(results / f"iter_{i - 1}" / "pseudo_labels.parquet")
        losses = pd.read_parquet(results / f"iter_{i}" / "losses.parquet")
        assert set(labels["utterance"]) == set(losses["utterance"])
        assert labels["label"].max() < 10
    gate = pd.read_parquet(results / "iter_1" / "gate.parquet")
    np.testing.assert_allclose(gate[["reliable", "corrected", "dropped"]].sum(axis=1), 1.0)


def test_the_report_names_what_matters(results):
    page = (results / "report.html").read_text()
    for expected in ("CA-DINO", "not audio", "it&#39;s $(touch owned) here.wav"):
        assert expected in page


def test_a_second_run_with_other_data_workers_is_identical(results, again):
    compared = 0
    for one in sorted(results.rglob("*")):
        if one.suffix not in (".parquet", ".pt") or "state" in one.parts:
            continue
        other = again / one.relative_to(results)
        if one.name == "history.parquet":
            frames = (pd.read_parquet(path).drop(columns=WALL_TIME) for path in (one, other))
            pd.testing.assert_frame_equal(*frames, check_exact=True)
        else:
            assert one.read_bytes() == other.read_bytes(), one
        compared += 1
    assert compared > 40
