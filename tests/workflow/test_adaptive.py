"""`recipe: adaptive`: settings that follow the packed corpus, derived in the middle of a run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfsv.prepare.adaptive import experiment_with
from selfsv.settings.experiment import Experiment
from selfsv.settings.reading import read_file
from selfsv.settings.stage_one import stage_one_title
from tests.workflow.conftest import CONFIG, REPOSITORY, Workshop, build

# A stage `manifest` that counts nothing: as many utterances as a file says, the first of them rejected.
MANIFEST = """
import pathlib, sys
import pandas as pd
count = int(pathlib.Path("count.txt").read_text())
table = pd.DataFrame({"num_samples": [5 * 16_000] * count, "status": ["rejected"] + ["ok"] * (count - 1)})
table.to_parquet(sys.argv[sys.argv.index("--manifest") + 1])
"""
OWN = {"recipe": "adaptive", "pretrain": {"epochs": 20, "dino": {"ema_start": 0.9}}}
# Every stage with settings that are derived.
FOLLOWING = {"check_corpus", "pretrain", "train", "cluster", "calibrate", "score", "diagnose", "metrics", "record", "report"}


def settings_of(workshop: Workshop) -> dict[str, set[str]]:
    """By stage, the files of settings that its jobs were called with."""
    found: dict[str, set[str]] = {}
    for stage, words in workshop.calls():
        if "--settings" in words:
            found.setdefault(stage, set()).add(words[words.index("--settings") + 1])
    return found


def derived(workshop: Workshop) -> dict[str, Any]:
    return yaml.safe_load((workshop.folder / "results/tiny/data/train/derived.yaml").read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory, server) -> Workshop:
    """A corpus of 3,200 utterances, trained on with one setting of the user's own; not to be changed."""
    workshop = build(tmp_path_factory.mktemp("adaptive") / "first", server)
    (workshop.folder / "pipeline/manifest.py").write_text(MANIFEST)
    shutil.copy(REPOSITORY / "pipeline/derive.py", workshop.folder / "pipeline")
    (workshop.folder / "count.txt").write_text("3201")
    workshop.configure(**OWN)
    workshop.run()
    return workshop


@pytest.fixture
def corpus(trained, tmp_path) -> Workshop:
    """The same, to change."""
    return Workshop(Path(shutil.copytree(trained.folder, tmp_path / "copy")), trained.server)


def test_stages_have_what_was_derived_and_the_users_own_values(trained):
    """By hand: 3,200 // 32 is at least 64; 50 updates in each of 20 epochs; 3,200 / 20 speakers and 1.5 clusters for each."""
    found = derived(trained)
    assert found["pretrain"]["batch_size"] == found["train"]["batch_size"] == 64
    assert found["cluster"]["clusters"] == 240 and found["pretrain"]["cluster_aware"]["start_epoch"] == 12
    assert found["pretrain"]["crops"]["long_seconds"] == 2.5  # half of five seconds
    assert "ema_start" not in found["pretrain"]["dino"] and "epochs" not in found["pretrain"] and "shards" not in found.get("pack", {})
    (path,) = settings_of(trained)["pretrain"]
    pretrain = json.loads((trained.folder / path).read_text())["pretrain"]
    assert pretrain["batch_size"] == 64 and pretrain["dino"]["ema_start"] == 0.9 and pretrain["epochs"] == 20
    (path,) = settings_of(trained)["cluster"]
    assert json.loads((trained.folder / path).read_text())["clusters"] == 240


def test_no_stage_has_a_value_for_a_corpus_of_another_size(trained):
    """What stands in until the corpus is packed comes to no job that follows the corpus."""
    overlay = {**CONFIG, **OWN}
    expected = experiment_with(read_file(REPOSITORY / "config.yaml"), overlay, derived(trained))
    (path,) = settings_of(trained)["record"]
    assert Experiment.read(str(trained.folder / path)) == expected.model_copy(update={"runtime": type(expected.runtime)()})
    usual = experiment_with(read_file(REPOSITORY / "config.yaml"), overlay)
    assert usual.cluster.clusters != expected.cluster.clusters and usual.score.cohort_top != expected.score.cohort_top
    (path,) = settings_of(trained)["metrics"]
    assert json.loads((trained.folder / path).read_text())["stage_one"] == stage_one_title(expected)
    (path,) = settings_of(trained)["score"]
    assert json.loads((trained.folder / path).read_text()) == expected.score.model_dump(mode="json")


def test_each_value_has_its_reason(trained):
    lines = (trained.folder / "results/tiny/data/train/derived.yaml").read_text().splitlines()
    assert "3,200 utterances of 5.0 s" in lines[0] and any("Set by you" in line and "pretrain.dino.ema_start" in line for line in lines[:3])
    assert all("  # " in line for line in lines if ": " in line and not line.startswith("#"))


def test_a_finished_run_has_nothing_to_do(corpus):
    assert not corpus.plan().rules
    (corpus.folder / "count.txt").write_text("100001")  # recordings that nobody has asked to list
    assert not corpus.plan().rules


def test_what_is_derived_anew_reruns_what_it_changes(corpus):
    """The corpus is another one, so its trainings are made again; how it was derived shows in no option but the settings."""
    before = settings_of(corpus)
    (corpus.folder / "count.txt").write_text("100001")
    done = corpus.snakemake("--configfile", "overlay.yaml", "--forcerun", "listing")
    assert done.status == 0, done.told
    assert derived(corpus)["pretrain"]["batch_size"] == 256
    changed = {stage for stage, files in settings_of(corpus).items() if files != before.get(stage)}
    assert changed == FOLLOWING
    assert not corpus.plan().rules


def test_a_key_set_by_hand_reruns_what_it_changes_alone(corpus):
    """The first of these has the value that was derived."""
    before = len(corpus.calls())
    corpus.configure(**OWN, cluster={"clusters": 240}, score={"cohort_top": 7})
    done = corpus.snakemake("--configfile", "overlay.yaml")
    assert done.status == 0, done.told
    again = {stage for stage, _ in corpus.calls()[before:]}
    assert again == {"calibrate", "score", "diagnose", "metrics", "record", "report"}
    assert "clusters" not in derived(corpus)["cluster"] and "cohort_top" not in derived(corpus)["score"]


def test_a_job_on_a_cluster_has_what_was_derived(corpus):
    """It is planned by a Snakemake of its own, in which the checkpoint is no job."""
    before = settings_of(corpus)["cluster"]
    job = [
        "--mode",
        "subprocess",
        "--target-jobs",
        "cluster:system=iter_0",
        "--allowed-rules",
        "cluster",
        "--force",
        "--nolock",
        "--no-hooks",
    ]
    done = corpus.snakemake(*job, "--configfile", "overlay.yaml")
    assert done.status == 0, done.told
    stage, words = corpus.calls()[-1]
    assert stage == "cluster" and before == {words[words.index("--settings") + 1]}
