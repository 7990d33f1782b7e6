"""The ablations: what is planned, labels that are wrong on purpose, and the table."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmarks.ablation_table import agreement, markdown, trusted
from benchmarks.shuffle_labels import shuffled
from tests.benchmarks.command_lines import assert_understood

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["ablation", "systems", "whole_systems", "rounds"])
def test_every_row_is_trained_with_every_seed(name, tmp_path, monkeypatch):
    """A dry run on finished experiments, of which only the files' names are there; all rows are valid settings."""
    table = REPOSITORY / "benchmarks" / f"{name}.yaml"
    values = yaml.safe_load(table.read_text())
    plan = {"pretraining": {}, "labels": {}, "rounds": [], "systems": {}, "finetuned": {}, **values["ablation"]}
    data = tmp_path / plan["data"]
    names = [f"{corpus}/{name}" for corpus in ("train", "test") for name in ("audio-0.pt", "audio-1.pt", "manifest.parquet")]
    sources = [tmp_path / labels["embeddings"] for labels in plan["labels"].values()]
    for path in [data / name for name in [*names, "noise.pt", "rirs.pt", "train/speakers.parquet"]] + sources:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "demo").symlink_to(REPOSITORY / "demo")
    overlays = [REPOSITORY / "demo" / "config.yaml", table]
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--printshellcmds"]
    command += ["--snakefile", REPOSITORY / "benchmarks" / "ablation.smk"]
    done = subprocess.run([*command, "--cores", "2", "--configfile", *overlays], cwd=tmp_path, capture_output=True, text=True, check=True)
    jobs = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE)}
    seeds, systems = len(plan["seeds"]), len(plan["systems"])
    followers = sum("stage_one" in (changes or {}) for changes in plan["systems"].values())  # these have no stage I of their own
    pretrained = len(plan["pretraining"]) + systems - followers
    rounds = len({(labels, row) for part in plan["rounds"] for labels in part["labels"] for row in part["rows"]})
    rounds += systems * values.get("rounds", 0)
    finetuned = sum(map(len, plan["finetuned"].values()))
    ivectors = len(plan["systems"].keys() & {"ivector"})
    expected = {
        "pretrain": pretrained - ivectors,
        "ivector": ivectors,
        "train": rounds,
        "finetune": finetuned,
        "score": pretrained + rounds + finetuned,
    }
    assert {rule: jobs.get(rule, 0) for rule in expected} == {rule: seeds * count for rule, count in expected.items()}
    assert jobs["score"] == jobs["cluster"] == jobs["extract"] / 2
    assert jobs.get("labels", 0) == len(plan["labels"])
    calls = dict(re.findall(r"python -m (pipeline\.\w+) (.*?)(?: 2>| &&)", done.stdout + done.stderr))
    stages = (
        {"pretrain", "train", "extract", "cluster", "score"} | ({"finetune"} if finetuned else set()) | ({"ivector"} if ivectors else set())
    )
    assert set(calls) == {f"pipeline.{stage}" for stage in stages}
    for module, options in calls.items():
        assert_understood(module, shlex.split(options), monkeypatch)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_labels_is_shuffled(share):
    labels = np.repeat(np.arange(50), 20)
    table = pd.DataFrame({"utterance": [f"u{row}" for row in range(1000)], "label": labels})
    made = shuffled(table, share)
    assert made["shuffled"].mean() == pytest.approx(share)
    assert (made["label"] == labels)[~made["shuffled"]].all()
    assert (np.bincount(made["label"]) == 20).all()  # shuffled, not replaced
    # Chance leaves one in fifty as it was.
    assert (made["label"] != labels).mean() == pytest.approx(0.98 * share, abs=0.02)


def test_trusted_labels_are_counted_apart(tmp_path):
    names, decisions = list("abcd"), ["reliable", "dropped", "reliable", "corrected"]
    pd.DataFrame({"utterance": names, "decision": decisions}).to_parquet(tmp_path / "losses.parquet")
    wrong = pd.DataFrame({"utterance": names[::-1], "label": 0, "shuffled": [True, True, False, False]})
    wrong.to_parquet(tmp_path / "labels.parquet")
    found = trusted(tmp_path / "losses.parquet", tmp_path / "labels.parquet")
    assert found == {"trusted": 0.5, "trusted_kept": 0.5, "trusted_shuffled": 0.5}


def test_agreement_knows_no_names(tmp_path):
    """Clusters that are the speakers under other numbers agree wholly."""
    pd.DataFrame({"utterance": list("abcd"), "label": [1, 1, 0, 0]}).to_parquet(tmp_path / "labels.parquet")
    speakers = pd.DataFrame({"utterance": list("dcba"), "speaker": ["x", "x", "y", "y"]})
    assert agreement(tmp_path / "labels.parquet", speakers) == pytest.approx(1.0)


def test_means_and_deviations():
    rows = pd.DataFrame(
        [
            {"row": "one", "seed": seed, "norm": norm, "eer": eer, "min_dcf": 0.5, "nmi": 0.9, "trusted": 0.25}
            for seed, eer in ((1, 0.10), (2, 0.14))
            for norm in ("cosine", "snorm")
        ]
    )
    *_, line = markdown(rows).splitlines()
    assert line.split(" | ") == ["| one", "2", "12.00 ± 2.83", "12.00 ± 2.83", "0.500 ± 0.000", "0.900 ± 0.000", "25 ± 0 |"]
