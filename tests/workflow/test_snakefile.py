"""The workflow as a user meets it: one run, its messages, its mistakes, its size."""

import json
import os
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from selfsv.settings.clustering import ClusterSettings
from selfsv.settings.data import Corpus, NoiseSettings, PackSettings, RejectionSettings, RirSettings
from selfsv.settings.experiment import OWN_SHARDS, Experiment
from selfsv.settings.jobs import BaselineJob, CorpusCheck, MetricJob, PretrainJob, TrainJob
from selfsv.settings.scoring import ScoreSettings
from tests.workflow.conftest import REPOSITORY

SECTIONS = {
    "listing": Corpus,
    "check_corpus": CorpusCheck,
    "pack": PackSettings,
    "manifest": RejectionSettings,
    "noise": NoiseSettings,
    "rirs": RirSettings,
    "pretrain": PretrainJob,
    "baseline": BaselineJob,
    "cluster": ClusterSettings,
    "train": TrainJob,
    "score": ScoreSettings,
    "metrics": MetricJob,
    "report": Experiment,
}
# Ends the process that lists the tree or opens a file in it.
GUARD = """
import os, sys
def guard(event, arguments):
    if event in ("os.listdir", "os.scandir", "open", "glob.glob") and "million" in str(arguments[0]):
        os.write(2, f"looked at {arguments[0]}".encode())
        os._exit(99)
sys.addaudithook(guard)
"""


def test_every_stage_is_called_with_the_settings_of_its_section(finished):
    calls = [json.loads(line) for line in (finished.folder / "calls.jsonl").read_text().splitlines()]
    assert set(SECTIONS) <= {stage for stage, _ in calls}
    for stage, arguments in calls:
        if stage in SECTIONS:
            SECTIONS[stage].read(arguments[arguments.index("--settings") + 1])


def test_round_trains_on_the_labels_of_the_round_before(finished):
    calls = [json.loads(line) for line in (finished.folder / "calls.jsonl").read_text().splitlines()]
    options = [dict(pairwise(arguments)) for stage, arguments in calls if stage == "train"]
    used = {option["--iteration"]: option["--labels"] for option in options}
    assert used == {"1": "results/tiny/iter_0/pseudo_labels.parquet", "2": "results/tiny/iter_1/pseudo_labels.parquet"}


def test_no_training_stage_is_given_the_speakers(finished):
    calls = [json.loads(line) for line in (finished.folder / "calls.jsonl").read_text().splitlines()]
    assert {stage for stage, arguments in calls if any("speakers.parquet" in argument for argument in arguments)} == {
        "listing",
        "metrics",
        "quality",
    }


def test_extraction_is_given_no_option_that_it_does_not_read(finished):
    calls = [json.loads(line) for line in (finished.folder / "calls.jsonl").read_text().splitlines()]
    options = [{argument for argument in arguments if argument.startswith("--")} for stage, arguments in calls if stage == "extract"]
    assert options == [{"--model", "--manifest", "--audio", "--output", "--device", "--threads", "--precision"}] * len(options) != []


@pytest.mark.parametrize(("gpus", "device", "times"), [(2, "auto", 2), (2, "cpu", 1), (0, "auto", 1)])
def test_cores_and_workers_of_a_training_are_those_of_its_gpus(fresh, gpus, device, times):
    fresh.configure(runtime={"gpus": gpus, "device": device, "threads": 2, "workers": 3})
    done = fresh.snakemake("--dry-run", "--cores", "16", "--configfile", "overlay.yaml")
    for rule, factor in (("pretrain", times), ("train", times), ("cluster", 1)):
        block = done.told.partition(f"\nrule {rule}:\n")[2].partition("\n\n")[0]
        assert f"threads: {2 * factor}\n" in block
        assert rule == "cluster" or (f"workers={3 * factor}" in block and f"cpus_per_task={2 * factor}" in block)


def test_run_ends_with_the_table_and_the_place_of_the_report(finished):
    told = (finished.folder / "first-run.txt").read_text()
    assert "the table of metrics" in told
    assert str(finished.folder / "results/tiny/report.html") in told


def test_logs_are_written(finished):
    names = {path.name for path in (finished.folder / "results/tiny/logs").iterdir()}
    assert {"pretrain.log", "train-1.log", "cluster-iter_0.log", "pack-train-1.log", "metrics.txt"} <= names


@pytest.mark.parametrize(
    ("overlay", "named"),
    [
        ({"cluster": {"clustres": 5}}, "cluster.clustres"),
        ({"pretrain": {"crops": {"long_seconds": -1}}}, "pretrain.crops.long_seconds"),
        ({"train_corpus": "nowhere"}, "nowhere"),
        ({"trials": {"mine": {"corpus": "voxceleb3", "path": "x"}}}, "voxceleb3"),
    ],
)
def test_broken_config_ends_in_one_message_that_names_the_key(fresh, overlay, named):
    (fresh.folder / "broken.yaml").write_text(yaml.safe_dump(overlay))
    done = fresh.snakemake("--dry-run", "--configfile", "broken.yaml")
    assert done.status == 1
    assert named in done.told
    assert "Traceback" not in done.told


OWN = {"experiment": "tiny", "rounds": 1, "runtime": {"device": "cpu", "threads": 1}}
CORPORA = {"train": {"layout": "folder", "path": "no/such folder"}}
# Ways to say the same: one file, several, the command line.
WAYS = {
    "a file": ([{**OWN, "corpora": CORPORA}], []),
    "two files": ([OWN, {"corpora": CORPORA}], []),
    "the command line": ([OWN], ["--config", f"corpora={json.dumps(CORPORA)}"]),
}


@pytest.mark.parametrize("way", WAYS)
def test_own_corpora_without_trials_are_planned_without_scores(fresh, way):
    overlays, options = WAYS[way]
    for number, overlay in enumerate(overlays):
        (fresh.folder / f"{number}.yaml").write_text(yaml.safe_dump(overlay))
    files = [f"{number}.yaml" for number in range(len(overlays))]
    plan = fresh.plan("--configfile", *files, *options)
    assert {"pretrain", "train", "cluster", "report"} <= set(plan.rules)
    assert not {"score", "metrics", "baseline"} & set(plan.rules)
    assert plan.rules["pack"] == OWN_SHARDS


def test_a_run_without_trials_ends_with_its_models_and_the_report(fresh):
    overlay = {**OWN, "corpora": CORPORA, "large_margin": {"enabled": True}}
    (fresh.folder / "own.yaml").write_text(yaml.safe_dump(overlay))
    done = fresh.snakemake("--configfile", "own.yaml")
    assert done.status == 0, done.told
    last = done.told[done.told.index("nothing was scored") :]
    for system in ("iter_0", "iter_1", "large_margin"):
        assert str(fresh.folder / f"results/tiny/{system}/model.pt") in last
    assert str(fresh.folder / "results/tiny/report.html") in last
    again = fresh.snakemake("--configfile", "own.yaml", "--dry-run")
    assert "Nothing to be done" in again.told


def test_settings_that_a_corpus_cannot_serve_are_said_before_it_is_packed(fresh):
    for stage in ("listing", "check_corpus", "check_trials"):
        shutil.copy(REPOSITORY / "pipeline" / f"{stage}.py", fresh.folder / "pipeline")
    for number in range(3):
        path = fresh.folder / f"own/talker/{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    corpora = {name: {"layout": "folder", "path": "own"} for name in ("train", "test")}
    fresh.configure(corpora=corpora, cluster={"clusters": 4}, baselines=False)
    done = fresh.snakemake("--configfile", "overlay.yaml")
    assert done.status == 1
    said = ("'cluster.clusters' is 4: lower it to 3 at most", "trials.some: none of its 1 trials can be scored")
    assert any(message in done.told for message in said)  # the first that fails ends the run
    assert "Traceback" not in done.told
    assert not list(fresh.folder.rglob("audio-*.pt"))


def test_missing_trial_list_is_named(fresh):
    fresh.configure(trials={"some": {"corpus": "test", "path": "lists/lost.txt"}})
    done = fresh.snakemake("--dry-run", "--configfile", "overlay.yaml")
    assert done.status == 1
    assert "trials.some.path" in done.told
    assert "lists/lost.txt" in done.told


def test_paper_recipe_is_planned_in_seconds_without_looking_at_its_files(fresh, tmp_path):
    overlay = {"corpora": {name: {"layout": "voxceleb", "path": f"million/{name}"} for name in ("train", "voxceleb1")}}
    (fresh.folder / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    for name in ("train", "voxceleb1"):
        session = fresh.folder / "million" / name / "id1" / "session"
        session.mkdir(parents=True)
        (session / "1.wav").touch()
    for trials in yaml.safe_load((fresh.folder / "config.yaml").read_text())["trials"].values():
        path = fresh.folder / trials["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    guard = tmp_path / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(GUARD)
    environment = {**os.environ, "PYTHONPATH": str(guard)}
    looking = [sys.executable, "-c", "import os; os.listdir('million')"]
    look = subprocess.run(looking, cwd=fresh.folder, env=environment, check=False)
    assert look.returncode == 99
    snakemake = str(Path(sys.executable).with_name("snakemake"))
    command = [snakemake, "--cores", "1", "--dry-run", "--quiet", "rules", "--configfile", "overlay.yaml"]
    start = time.monotonic()
    done = subprocess.run(command, cwd=fresh.folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = int(next(line for line in (done.stdout + done.stderr).splitlines() if line.startswith("total")).split()[1])
    assert jobs < 300
    assert seconds < 60


def test_workflow_runs_from_another_directory(fresh, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "the trials.txt").touch()
    done = fresh.snakemake("data", "--directory", str(tmp_path / "elsewhere"), "--configfile", "overlay.yaml")
    assert done.status == 0, done.told
    assert (tmp_path / "elsewhere/results/tiny/data/train/manifest.parquet").exists()
