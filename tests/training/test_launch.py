"""How a training script is started: as it is, under torchrun, or on several nodes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from selfsv.engine.checkpoints import TERMINATED
from selfsv.engine.launch import launched, port_of
from selfsv.errors import InputError
from selfsv.settings.experiment import Experiment
from selfsv.settings.jobs import TrainJob
from selfsv.settings.section import validated
from tests.conftest import REPOSITORY
from tests.training.workshop import TRAIN

SCRIPT = ("pipeline.train", ["--seed", "1 2"])


@pytest.mark.parametrize("gpus", [0, 1])
def test_one_process_is_the_script_itself(gpus):
    assert launched(*SCRIPT, gpus, 1, 8, {}) == [sys.executable, "-m", "pipeline.train", "--seed", "1 2"]


def test_several_gpus_are_one_torchrun():
    command = launched(*SCRIPT, 4, 1, 8, {})
    assert command[1:5] == ["-m", "torch.distributed.run", "--nproc-per-node=4", "--standalone"]
    assert command[-5:] == ["--module", "--", "pipeline.train", "--seed", "1 2"]


def test_several_nodes_are_one_torchrun_each_that_meet_at_the_first():
    command = launched(*SCRIPT, 2, 3, 8, {"SLURM_JOB_ID": "4711"})
    assert command[0] == "srun" and {"--jobid=4711", "--nodes=3", "--ntasks=3", "--gres=gpu:2", "--cpus-per-task=8"} <= set(command)
    assert {"--nnodes=3", "--nproc-per-node=2", "--rdzv-id=4711"} <= set(command)
    assert command[-5:] == ["--module", "--", "pipeline.train", "--seed", "1 2"]


def test_several_nodes_need_a_slurm_job():
    with pytest.raises(InputError, match=r"runtime\.nodes is 2.*--profile slurm"):
        launched(*SCRIPT, 1, 2, 8, {})


def test_ports_are_those_that_users_may_open():
    assert all(1024 < port_of(str(job)) < 32768 for job in (1, 9_999, 12_345_678))


@pytest.fixture(scope="module")
def training(packed, banks, tmp_path_factory):
    """A round of DLG-LC as the workflow starts it, with any number of processes, into a folder of its own."""
    tmp_path = tmp_path_factory.mktemp("launched")
    labels = pd.DataFrame({"utterance": pd.read_parquet(packed.paths[0])["utterance"]})
    labels["label"] = pd.factorize(pd.Series(packed.speakers))[0]
    labels.to_parquet(tmp_path / "labels.parquet")
    config = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    encoder = {"channels": 16, "mfa_channels": 24, "bottleneck": 8, "embedding": 12}
    experiment = validated(Experiment, {**config, "encoder": encoder, "train": {**TRAIN, "epochs": 12}})
    (tmp_path / "job.json").write_text(TrainJob.of(experiment).to_json())

    def start(processes: int, name: str, workers: int = 0, *more: object) -> subprocess.Popen:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        command: list[object] = [sys.executable, "-m", "selfsv.engine.launch", "--gpus", processes, "--threads", 2, "pipeline.train"]
        command += ["--settings", tmp_path / "job.json", "--iteration", 1, "--labels", tmp_path / "labels.parquet"]
        command += ["--manifest", packed.paths[0], "--audio", *packed.paths[1], "--noise", banks[0], "--rirs", banks[1]]
        command += ["--state", folder / "state", "--device", "cpu", "--threads", 2, "--workers", workers]
        for output in ("history", "gate", "losses"):
            command += [f"--{output}", folder / f"{output}.parquet"]
        command += ["--model", folder / "model.pt", "--log", folder / "train.log", *more]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with open(folder / "log", "a") as log:
            return subprocess.Popen(
                list(map(str, command)), cwd=REPOSITORY, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    start.folder = tmp_path  # type: ignore[attr-defined]
    return start


def model(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "model.pt", weights_only=True)["weights"]


@pytest.fixture(scope="module")
def calm(training) -> Path:
    """The results of a pair of processes that nobody disturbed."""
    assert training(2, "calm").wait(240) == 0
    return training.folder / "calm"


def test_torchrun_trains_to_the_end(calm):
    history = pd.read_parquet(calm / "history.parquet")
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert pd.read_parquet(calm / "losses.parquet")["loss_clean"].notna().all()
    assert (calm / "log").read_text().count("epoch 1 of 12") == 1  # the first process speaks for all


def test_terminated_processes_save_their_state_and_go_on_from_it(training, calm):
    running = training(2, "disturbed")
    log = training.folder / "disturbed" / "log"
    while "epoch 2 of 12" not in log.read_text():
        assert running.poll() is None, log.read_text()
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) != 0
    assert "has saved its state" in log.read_text()
    assert training(2, "disturbed").wait(240) == 0
    assert "goes on at epoch" in log.read_text()
    expected, disturbed = model(calm), model(training.folder / "disturbed")
    assert all(torch.equal(disturbed[name], expected[name]) for name in expected)


def test_a_training_goes_on_with_other_numbers_of_processes(training, calm):
    """One, two, one; how little that changes is measured in test_elastic.py."""
    log, seen = training.folder / "elastic" / "log", ""
    for processes, mark in ((1, "epoch 3 of 12"), (2, "epoch 6 of 12")):
        running = training(processes, "elastic")
        while mark not in log.read_text():
            assert running.poll() is None, log.read_text()
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) != 0
        assert "has saved its state" in log.read_text().removeprefix(seen)
        seen = log.read_text()
    assert training(1, "elastic").wait(240) == 0
    assert log.read_text().count("goes on at epoch") == 2
    found, expected = (pd.read_parquet(folder / "history.parquet") for folder in (training.folder / "elastic", calm))
    assert list(found["epoch"]) == list(range(12))
    assert found["loss"].iloc[0] == pytest.approx(expected["loss"].iloc[0], rel=2e-2)  # rounding grows with every step from there


@pytest.mark.parametrize("processes", [1, 2])
def test_a_signal_to_all_processes_of_the_job_finds_the_state_saved(processes, training, calm):
    """As SLURM sends it at a cancellation or a time limit: data workers get it, too."""
    name = f"signalled-{processes}"
    running, log = training(processes, name, workers=2), training.folder / name / "log"
    while "epoch 2 of 12" not in log.read_text():
        assert running.poll() is None, log.read_text()
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGTERM)
    status = running.wait(60)
    assert "has saved its state" in log.read_text() and "Traceback" not in log.read_text().split("has saved its state")[0]
    if processes == 1:
        assert status == TERMINATED
    assert training(processes, name, workers=2).wait(240) == 0
    assert "goes on at epoch" in log.read_text()
    if processes == 2:  # whose undisturbed results are there, of data without workers
        expected, disturbed = model(calm), model(training.folder / name)
        assert all(torch.equal(disturbed[name], expected[name]) for name in expected)


def process_of_rank(launcher: int, rank: int) -> int:
    """The process of a training whose launcher is given."""
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if f"\0RANK={rank}\0" in Path(f"/proc/{child}/environ").read_bytes().decode():
            return int(child)
    raise AssertionError(f"no process of rank {rank}")


@pytest.mark.parametrize(
    ("rank", "sent", "named"),
    [
        (2, signal.SIGSTOP, "process 2"),
        pytest.param(0, signal.SIGSTOP, "process 0", marks=pytest.mark.slow),
        pytest.param(1, signal.SIGKILL, "", marks=pytest.mark.slow),
    ],
)
def test_a_process_that_stalls_or_dies_ends_the_job_and_is_named(rank, sent, named, training):
    """Not after days: nobody would notice. The next try goes on from the last state."""
    name = f"stalled-{rank}"
    options = ["--stall-minutes", 0.2, "--checkpoint-minutes", 0.01]
    running, log = training(3, name, 0, *options), training.folder / name / "log"
    while "epoch 3 of 12" not in log.read_text():
        assert running.poll() is None, log.read_text()
        time.sleep(0.05)
    os.kill(process_of_rank(running.pid, rank), sent)
    assert running.wait(150) != 0
    assert f"{named} does not answer" in log.read_text() or sent == signal.SIGKILL
    assert "this is a fault of the code" not in log.read_text()
    assert training(3, name).wait(240) == 0
    assert "goes on at epoch" in log.read_text()
