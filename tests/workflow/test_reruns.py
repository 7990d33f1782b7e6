"""What is done again after a change, and what is not."""

import os

import pytest

from tests.workflow.conftest import CONFIG, TABLES

AFTER_CLUSTERING = {
    *("cluster", "quality", "calibrate", "train", "extract", "extract_parts", "diagnose", "score", "metrics"),
    *("report", "record"),  # these tell all settings
}


def test_nothing_is_left_to_do(workshop):
    assert not workshop.plan().rules


def test_touching_a_script_reruns_nothing(workshop):
    os.utime(workshop.folder / "pipeline" / "pretrain.py")
    assert not workshop.plan().rules


@pytest.mark.parametrize(
    "runtime",
    [
        {
            "device": "auto",
            "gpus": 0,
            "nodes": 2,
            "threads": 2,
            "workers": 3,
            "precision": "bfloat16",
            "compile": False,
            "checkpoint_minutes": 1.5,
            "stall_minutes": 2.5,
            "leave_minutes": 5.0,
            "snapshot_epochs": 2,
            "shared_start": "results/starts",
            "scratch": "$SLURM_TMPDIR",
            "container": "selfsv.sif",
        }
    ],
)
def test_runtime_options_rerun_nothing(workshop, runtime):
    workshop.configure(runtime=runtime)
    assert not workshop.plan().rules


def test_number_of_clusters_reruns_from_clustering_on(workshop):
    workshop.configure(cluster={"clusters": 11})
    plan = workshop.plan()
    assert set(plan.rules) == {"check_corpus"} | AFTER_CLUSTERING
    assert plan.rules["cluster"] == 6  # three baselines, CA-DINO, two rounds
    assert plan.rules["train"] == 2
    assert not {file for file in plan.outputs if file.startswith("iter_0/embeddings")}
    workshop.run()
    assert not workshop.plan().rules


def test_scoring_key_reruns_scoring_alone(workshop):
    workshop.configure(score={"cohort_top": 7})
    assert workshop.plan().made_by("calibrate", "score", "diagnose", "metrics", "report", "record")


def test_operating_point_reruns_metrics_alone(workshop):
    workshop.configure(metrics={"p_target": 0.05})
    assert workshop.plan().made_by("metrics", "report", "record")


def test_one_more_round_runs_that_round_alone(workshop):
    workshop.configure(rounds=3)
    plan = workshop.plan()
    assert {file.split("/")[0] for file in plan.outputs} == {"iter_3", *TABLES, "report.html", "settings.json"}
    once = ("train", "cluster", "quality", "calibrate", "extract_parts", "diagnose", "score", "metrics", "report", "record")
    assert plan.rules == {"extract": 2, **dict.fromkeys(once, 1)}


def test_pretraining_rate_reruns_pretraining_and_what_follows(workshop):
    workshop.configure(pretrain={"optimiser": {"learning_rate": 0.01}})
    plan = workshop.plan()
    assert set(plan.rules) == {"pretrain"} | AFTER_CLUSTERING
    assert not {file for file in plan.outputs if file.startswith(("data/", "baseline_"))}


def test_training_rate_reruns_the_rounds_and_spares_pretraining(workshop):
    workshop.configure(train={"optimiser": {"learning_rate": 0.01}})
    plan = workshop.plan()
    assert set(plan.rules) == AFTER_CLUSTERING
    assert not {file for file in plan.outputs if file.startswith(("data/", "baseline_", "iter_0"))}


def test_another_test_corpus_spares_training(workshop):
    workshop.configure(corpora={"test": {"layout": "folder", "path": "elsewhere"}})
    plan = workshop.plan()
    assert not {"pretrain", "train", "cluster"} & set(plan.rules)
    assert plan.rules["listing"] == 1


def test_cutting_a_corpus_packs_it_again_and_lists_nothing(workshop):
    """Its checks then read the manifest; the other corpus is left as it is."""
    workshop.configure(corpora={**CONFIG["corpora"], "train": {**CONFIG["corpora"]["train"], "cut": {"longest_seconds": 8}}})
    plan = workshop.plan()
    assert "listing" not in plan.rules and plan.rules["pack"] == 2
    assert {file for file in plan.outputs if file.startswith("data/test/")} == set()
    assert {"check_corpus", "pretrain", "train"} <= set(plan.rules) and "check_trials" not in plan.rules


@pytest.mark.parametrize(
    ("path", "first", "spared"),
    [
        ("pipeline/cluster.py", {"cluster"}, {"pretrain"}),
        ("pipeline/score.py", {"score"}, {"cluster"}),
        ("selfsv/scoring/calibration_fit.py", {"calibrate", "score"}, {"cluster", "extract", "train", "diagnose"}),
        ("selfsv/scoring/snorm.py", {"calibrate", "score", "diagnose"}, {"cluster", "extract", "train"}),
        ("selfsv/diagnosis/validation.py", {"diagnose", "report"}, {"quality", "cluster", "train", "extract_parts", "calibrate"}),
        ("selfsv/clustering/kmeans.py", {"pretrain", "cluster"}, {"pack", "baseline", "noise"}),
        ("selfsv/losses/aam.py", {"train"}, {"pretrain", "pack"}),
        ("workflow/report/report.html.j2", {"report"}, {"metrics", "score"}),
        ("the trials.txt", {"score"}, {"extract", "cluster"}),
    ],
)
def test_editing_a_file_reruns_the_stages_that_use_it(workshop, path, first, spared):
    workshop.append(path)
    plan = workshop.plan()
    assert first <= set(plan.rules)
    assert not spared & set(plan.rules)


def test_describing_a_setting_better_reruns_nothing(workshop):
    workshop.append("selfsv/settings/pretrain.py")
    assert not workshop.plan().rules
