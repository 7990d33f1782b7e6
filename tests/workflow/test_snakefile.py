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
from selfsv.settings.data import Corpus, NoiseSettings, RejectionSettings, RirSettings
from selfsv.settings.experiment import OWN_SHARDS, Experiment
from selfsv.settings.jobs import (
    BaselineJob,
    CalibrationJob,
    CorpusCheck,
    DiagnoseJob,
    IvectorJob,
    MetricJob,
    PackJob,
    PretrainJob,
    TrainJob,
)
from selfsv.settings.scoring import ScoreSettings
from tests.workflow.conftest import REPOSITORY

SECTIONS = {
    "listing": Corpus,
    "check_corpus": CorpusCheck,
    "pack": PackJob,
    "manifest": RejectionSettings,
    "noise": NoiseSettings,
    "rirs": RirSettings,
    "pretrain": PretrainJob,
    "baseline": BaselineJob,
    "cluster": ClusterSettings,
    "train": TrainJob,
    "calibrate": CalibrationJob,
    "score": ScoreSettings,
    "diagnose": DiagnoseJob,
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
    assert set(SECTIONS) <= {stage for stage, _ in finished.calls()}
    for stage, arguments in finished.calls():
        if stage in SECTIONS:
            SECTIONS[stage].read(str(finished.folder / arguments[arguments.index("--settings") + 1]))


def test_round_trains_on_the_labels_of_the_round_before(finished):
    options = [dict(pairwise(arguments)) for stage, arguments in finished.calls() if stage == "train"]
    used = {option["--iteration"]: option["--labels"] for option in options}
    assert used == {"1": "results/tiny/iter_0/pseudo_labels.parquet", "2": "results/tiny/iter_1/pseudo_labels.parquet"}


def test_no_training_stage_is_given_the_speakers(finished):
    assert {stage for stage, arguments in finished.calls() if any("speakers" in argument for argument in arguments)} == {
        "listing",
        "metrics",
        "quality",
    }


def test_extraction_is_given_no_option_that_it_does_not_read(finished):
    options = [
        {argument for argument in arguments if argument.startswith("--")} for stage, arguments in finished.calls() if stage == "extract"
    ]
    read = {"--model", "--manifest", "--audio", "--output", "--device", "--threads", "--precision", "--log", "--quiet"}
    assert options == [read] * len(options) != []


@pytest.mark.parametrize(("gpus", "device", "times"), [(2, "auto", 2), (2, "cpu", 1), (0, "auto", 1)])
def test_cores_and_workers_of_a_training_are_those_of_its_gpus(fresh, gpus, device, times):
    fresh.configure(runtime={"gpus": gpus, "device": device, "threads": 2, "workers": 3})
    done = fresh.snakemake("--dry-run", "--printshellcmds", "--cores", "16", "--configfile", "overlay.yaml")
    for rule, factor in (("pretrain", times), ("train", times), ("cluster", 1)):
        block = done.told.partition(f"\nrule {rule}:\n")[2].partition("\n\n")[0]
        assert f"threads: {2 * factor}\n" in block
        assert f" --threads {2 * factor} " in block
        assert rule == "cluster" or (f" --workers {3 * factor} " in block and f"cpus_per_task={2 * factor}" in block)


def test_run_ends_with_the_table_and_the_place_of_the_report(finished):
    told = (finished.folder / "first-run.txt").read_text()
    assert "the table of metrics" in told
    assert str(finished.folder / "results/tiny/report.html") in told


def test_logs_are_written(finished):
    logs = {path.name: path.read_text() for path in (finished.folder / "results/tiny/logs").iterdir()}
    stages = {"pretrain": "pretrain", "train-1": "train", "cluster-iter_0": "cluster", "pack-train-1": "pack", "metrics": "metrics"}
    assert {name: logs[f"{name}.log"] for name in stages} == {name: f"the log of {stage}" for name, stage in stages.items()}
    assert logs["metrics.txt"] == "the table of metrics"


def test_trainings_and_no_other_stages_report_on_the_terminal(finished):
    assert {stage for stage, arguments in finished.calls() if "--quiet" not in arguments} == {"pretrain", "train"}


@pytest.mark.parametrize(
    ("overlay", "named"),
    [
        ({"cluster": {"clustres": 5}}, "cluster.clustres"),
        ({"pretrain": {"crops": {"long_seconds": -1}}}, "pretrain.crops.long_seconds"),
        ({"train_corpus": "nowhere"}, "nowhere"),
        ({"trials": {"mine": {"corpus": "voxceleb3", "path": "x"}}}, "voxceleb3"),
        ({"recipe": "strong"}, "--configfile systems/strong.yaml mine.yaml"),
        ({"pretrain": {"dino": {"pairing": None}}}, "'pretrain.dino.pairing'"),
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
# Ways to say the same: one file, several, the command line, a profile.
FROM_PROFILE = {"configfile": ["0.yaml"], "config": [f"corpora={json.dumps(CORPORA)}"]}
WAYS = {
    "a file": ([{**OWN, "corpora": CORPORA}], ["--configfile", "0.yaml"]),
    "two files": ([OWN, {"corpora": CORPORA}], ["--configfile", "0.yaml", "1.yaml"]),
    "the command line": ([OWN], ["--configfile", "0.yaml", "--config", f"corpora={json.dumps(CORPORA)}"]),
    "a profile": ([OWN], ["--profile", "profile"]),
}


@pytest.mark.parametrize("way", WAYS)
def test_own_corpora_without_trials_are_planned_without_scores(fresh, way):
    overlays, options = WAYS[way]
    for number, overlay in enumerate(overlays):
        (fresh.folder / f"{number}.yaml").write_text(yaml.safe_dump(overlay))
    (fresh.folder / "profile").mkdir()
    (fresh.folder / "profile" / "config.yaml").write_text(yaml.safe_dump(FROM_PROFILE))
    plan = fresh.plan(*options)
    assert {"pretrain", "train", "cluster", "diagnose", "report"} <= set(plan.rules)
    assert not {"score", "metrics", "baseline"} & set(plan.rules)
    assert plan.rules["pack"] == OWN_SHARDS


def test_a_system_is_planned_under_a_configuration_of_ones_own(fresh):
    system = str(REPOSITORY / "systems" / "simclr.yaml")
    fresh.configure(pretrain={"batch_size": 99})
    assert fresh.plan("--configfile", system, "overlay.yaml").rules == fresh.plan().rules
    done = fresh.snakemake("results/tiny/settings.json", "--configfile", system, "overlay.yaml")
    assert done.status == 0, done.told
    stage, arguments = fresh.calls()[-1]
    assert stage == "record"
    pretrain = Experiment.read(str(fresh.folder / arguments[arguments.index("--settings") + 1])).pretrain
    assert (pretrain.method, pretrain.crops.long_seconds, pretrain.batch_size) == ("contrastive", 2.0, 99)


def test_ivectors_are_a_stage_of_their_own(fresh):
    """It is given neither noise nor an encoder, has no history, and the rounds train the encoder of the settings on its clusters."""
    fresh.configure(pretrain={"method": "ivector"}, ivector={"components": 7})
    told = fresh.run()
    called = dict(fresh.calls())
    assert "pretrain" not in called and "the table of metrics" in told
    options = {argument for argument in called["ivector"] if argument.startswith("--")}
    assert options == {"--settings", "--manifest", "--audio", "--model", "--device", "--threads", "--log", "--quiet"}
    job = IvectorJob.read(str(fresh.folder / called["ivector"][called["ivector"].index("--settings") + 1]))
    assert job.ivector.components == 7 and not job.features.mean_normalise
    assert not fresh.plan().rules
    fresh.configure(pretrain={"method": "ivector", "epochs": 7, "batch_size": 9}, ivector={"components": 7}, encoder={"channels": 8})
    assert "ivector" not in fresh.plan().rules and "train" in fresh.plan().rules
    fresh.configure(pretrain={"method": "ivector"}, ivector={"components": 8})
    assert {"ivector", "cluster", "train"} <= set(fresh.plan().rules) and not {"pack", "baseline"} & set(fresh.plan().rules)


def test_later_files_and_the_command_line_win_over_earlier_ones(fresh):
    fresh.configure(rirs={"simulated_rooms": 7, "seconds": 0.5}, seed=1)
    (fresh.folder / "later.yaml").write_text(yaml.safe_dump({"rirs": {"simulated_rooms": 8}, "seed": 2}))
    overlays = ["--configfile", "overlay.yaml", "later.yaml", "--config", "seed=3"]
    done = fresh.snakemake("results/tiny/data/rirs.pt", *overlays)
    assert done.status == 0, done.told
    assert rooms(fresh) == ("3", 8, 0.5)
    # A job's own process, called as executors call it: it reads the Snakefile again and is given the same overlays.
    job = ["--mode", "subprocess", "--target-jobs", "rirs:", "--allowed-rules", "rirs", "--force", "--nolock", "--no-hooks"]
    done = fresh.snakemake(*job, "--config", "seed=4", "--configfiles", *(str(fresh.folder / name) for name in overlays[1:3]))
    assert done.status == 0, done.told
    assert rooms(fresh) == ("4", 8, 0.5)


def rooms(workshop):
    """Seed, number and length of responses that the stage `rirs` was last called with."""
    stage, arguments = workshop.calls()[-1]
    assert stage == "rirs"
    settings = RirSettings.read(str(workshop.folder / arguments[arguments.index("--settings") + 1]))
    return arguments[arguments.index("--seed") + 1], settings.simulated_rooms, settings.seconds


def test_a_mistake_in_config_yaml_itself_is_named(fresh):
    fresh.append("config.yaml", "\nseed: 2\n")
    done = fresh.snakemake("--dry-run", "--configfile", "overlay.yaml")
    assert done.status == 1 and "Traceback" not in done.told
    assert str(fresh.folder / "config.yaml") in done.told and "the key 'seed' is there twice" in done.told


def test_a_run_without_trials_ends_with_its_models_and_the_report(fresh):
    sdpn = {"method": "sdpn", "cluster_aware": {"partners": "none"}}
    overlay = {**OWN, "corpora": CORPORA, "large_margin": {"enabled": True}, "pretrain": sdpn}
    (fresh.folder / "own.yaml").write_text(yaml.safe_dump(overlay))
    done = fresh.snakemake("--configfile", "own.yaml")
    assert done.status == 0, done.told
    last = done.told[done.told.index("nothing was scored") :]
    for system, name in {"iter_0": "SDPN", "iter_1": "DLG-LC round 1", "large_margin": "large margin"}.items():
        assert f"{name}: {fresh.folder / f'results/tiny/{system}/model.pt'}" in last
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


def test_the_entry_of_the_catalogue_plans_the_same(fresh):
    """Snakemake's catalogue of workflows wants workflow/Snakefile; without --snakefile, Snakemake still takes the one in front."""
    included = fresh.plan("--snakefile", "workflow/Snakefile", "--configfile", "overlay.yaml")
    planned = fresh.plan()
    assert included.outputs == planned.outputs and included.rules - planned.rules == {"default": 1}
    assert not planned.rules - included.rules


def test_workflow_runs_from_another_directory(fresh, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "the trials.txt").touch()
    done = fresh.snakemake("data", "--directory", str(tmp_path / "elsewhere"), "--configfile", "overlay.yaml")
    assert done.status == 0, done.told
    assert (tmp_path / "elsewhere/results/tiny/data/train/manifest.parquet").exists()
