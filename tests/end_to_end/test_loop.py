"""The whole loop on a cut of the demo corpus, with some hostile files in it, run twice: from two commands to the report."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from selfsv.scoring.systems import BASELINES
from tests.cut import HOSTILE, SETTINGS, WALL_TIME, finished, overlay_for

ROUNDS = SETTINGS["rounds"]
# What can be made of the rounds' encoders, in one epoch each.
SHORT = {"epochs": 1, "batch_size": 16, "crop_seconds": 1.0}
TUNING = {"large_margin": {"enabled": True, **SHORT}, "finetune": {"corpus": "train", "starts": ["random"], "percent": [50], **SHORT}}
TUNED = ("large_margin", "finetuned_random_50")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("first run")
    return finished(folder, overlay_for(folder, **TUNING))


@pytest.fixture(scope="module")
def again(tmp_path_factory, results) -> Path:
    """Up to the first round and its scores: what comes then are the same stages once more, and some that have no workers."""
    folder = tmp_path_factory.mktemp("second run")
    overlay = overlay_for(folder, **TUNING, runtime={"device": "cpu", "threads": 1, "workers": 2})
    return finished(folder, overlay, "iter_1/scores/cut.parquet", "iter_1/pseudo_labels.parquet")


COLUMNS = {
    "data/train/manifest.parquet": ["utterance", "path", "session", "num_samples", "shard", "offset", "status", "reason"],
    "data/train/speakers.parquet": ["utterance", "speaker"],
    "iter_0/embeddings/train.parquet": ["utterance", "embedding"],
    "iter_0/pseudo_labels.parquet": ["utterance", "label", "similarity"],
    "iter_2/losses.parquet": ["utterance", "loss_clean", "decision"],
    "iter_2/part_embeddings.parquet": ["utterance", "part", "embedding"],
    "iter_2/diagnosis.parquet": [
        *("system", "utterances", "sessions", "clusters"),
        *("part_eer", "part_eer_snorm", "part_targets", "part_nontargets"),
        *("session_eer", "session_eer_snorm", "session_targets", "session_nontargets"),
        *("session_ami", "session_nmi", "session_nmi_chance", "previous_ari", "previous_nmi"),
        *("resampling_ari", "silhouette", "effective_dimensions", "gate_reliable", "gate_corrected", "gate_dropped"),
        "doubts",
    ],
    "iter_2/calibration.parquet": [
        *("norm", "offset", "score_weight", "duration_weight", "cohort_weight", "doubts", "quality", "chosen"),
        *("targets", "nontargets", "clusters", "cllr", "min_cllr"),
    ],
    "iter_2/scores/cut.parquet": ["enroll", "test", "target", "cosine", "snorm", "llr"],
    "finetuned_random_50/scores/cut.parquet": ["enroll", "test", "target", "cosine", "snorm", "llr"],
}


@pytest.mark.parametrize("name", COLUMNS)
def test_artifacts_keep_their_contract(name, results):
    assert pq.read_schema(results / name).names == COLUMNS[name]


def test_every_system_is_scored(results):
    metrics = pd.read_parquet(results / "metrics.parquet")
    systems = {*BASELINES, *(f"iter_{i}" for i in range(ROUNDS + 1)), *TUNED}
    assert set(metrics["system"]) == systems and set(metrics["norm"]) == {"cosine", "snorm", "llr"}
    assert metrics["cllr"].notna().equals(metrics["norm"] == "llr")
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


def test_a_tuned_model_says_what_it_was_told(results):
    told, untold = (torch.load(results / system / "model.pt", weights_only=True)["provenance"] for system in reversed(TUNED))
    ok = (pd.read_parquet(results / "data" / "train" / "manifest.parquet")["status"] == "ok").sum()
    assert told["labels"] == {"percent": 50, "utterances": round(ok / 2), "speakers": 12} and "labels" not in untold


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
    for other in sorted(again.rglob("*")):
        if other.suffix not in (".parquet", ".pt") or "state" in other.parts:
            continue
        one = results / other.relative_to(again)
        if one.name == "history.parquet":
            frames = (pd.read_parquet(path).drop(columns=WALL_TIME) for path in (one, other))
            pd.testing.assert_frame_equal(*frames, check_exact=True)
        else:
            assert one.read_bytes() == other.read_bytes(), one
        compared += 1
    assert compared > 20
