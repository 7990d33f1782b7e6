"""`snakemake --profile slurm` on a real SLURM: a cut of the demo from files to the report, every heavy stage a job of its own."""

import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from tests.cut import said, start
from tests.slurm.cluster import ACCOUNT, Cluster, wait_for
from tests.slurm.submitted import PROFILE, THREADS, prepared
from tests.survival.disturbing import differences, environment_of, stages_in

# Rule: cores, megabytes, minutes, GPUs, as the rules ask.
ASKED = {
    "listing": (1, 8000, 240, 0),
    "pack": (2, 16000, 240, 0),
    "noise": (2, 16000, 240, 0),
    "rirs": (2, 16000, 240, 0),
    "pretrain": (THREADS, 64000, 2880, 1),
    "extract": (THREADS, 32000, 720, 1),
    "extract_parts": (THREADS, 32000, 720, 1),
    "cluster": (THREADS, 32000, 480, 0),
    "train": (THREADS, 64000, 2880, 1),
    "score": (2, 16000, 240, 0),
    "diagnose": (2, 16000, 240, 0),
    "metrics": (2, 16000, 240, 0),
}
TRAININGS = ("pretrain", "train")


class Watch(threading.Thread):
    """Collects what SLURM says about its jobs while they are there."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.jobs: dict[str, dict[str, str]] = {}
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(2):
            self.look()

    def look(self) -> None:
        """Take down every job that the controller knows."""
        told = subprocess.run(["scontrol", "--oneliner", "show", "job"], capture_output=True, text=True).stdout
        for line in told.splitlines():
            job = dict(re.findall(r"(\w+)=(\S*)", line))
            if "JobId" in job:
                self.jobs[job["JobId"]] = job

    def finish(self) -> None:
        """Look once more, then stop."""
        self._done.set()
        self.join()
        self.look()


def profile_with_account(folder: Path) -> Path:
    """The profile as a user edits it for a site that wants an account."""
    text = (PROFILE / "config.yaml").read_text()
    edited, changes = re.subn(r"^  # (slurm_account: )\S+", rf'  \1"{ACCOUNT}"', text, flags=re.MULTILINE)
    assert changes == 1
    (folder / "profile").mkdir()
    (folder / "profile" / "config.yaml").write_text(edited)
    return folder / "profile"


class Run(NamedTuple):
    """An undisturbed run."""

    results: Path
    jobs: dict[str, dict[str, str]]  # what SLURM said about each


def undisturbed(folder: Path, profile: Path) -> Run:
    """The workflow, watched."""
    watch = Watch()
    watch.start()
    status = start(prepared(folder, "on-slurm", profile), folder).wait()
    watch.finish()
    assert status == 0, said(folder)
    return Run(folder / "results" / "on-slurm", watch.jobs)


@pytest.fixture(scope="module")
def without_accounting(cluster: Cluster, tmp_path_factory) -> Run:
    """As on a cluster that keeps no accounts: the state of jobs is the controller's word."""
    return undisturbed(tmp_path_factory.mktemp("login node"), PROFILE)


@pytest.fixture(scope="module")
def with_accounting(cluster: Cluster, tmp_path_factory) -> Run:
    """As on a cluster that charges accounts: the state of jobs comes from its database."""
    if not cluster.accounting:
        pytest.skip("no accounting on this machine: apt install slurmdbd mariadb-server-core mariadb-client-core")
    folder = tmp_path_factory.mktemp("login node with accounts")
    return undisturbed(folder, profile_with_account(folder))


@pytest.fixture(params=["as the machine has it", pytest.param("without_accounting", marks=pytest.mark.slow)])
def run(request, cluster: Cluster) -> Run:
    """With accounts where there can be any; without them where there cannot, or in the slow tests."""
    accounts = cluster.accounting and request.param != "without_accounting"
    return request.getfixturevalue("with_accounting" if accounts else "without_accounting")


def rule_of(job: dict[str, str]) -> str:
    """The rule that a job carried out: the executor notes it in the comment."""
    longest_first = sorted(ASKED, key=len, reverse=True)  # `extract` begins another rule's name
    found = re.match(rf"rule_({'|'.join(longest_first)})(?:_|$)", job.get("Comment", ""))
    return found[1] if found else job.get("Comment", "")


def test_the_run_ends_with_its_report(run):
    assert (run.results / "report.html").exists()
    assert set(pd.read_parquet(run.results / "metrics.parquet")["system"]) == {"iter_0", "iter_1"}


@pytest.mark.parametrize("rule", ASKED)
def test_every_heavy_stage_was_a_job_with_what_it_asked_for(rule, run):
    jobs = [job for job in run.jobs.values() if rule_of(job) == rule]
    assert jobs, sorted({job.get("Comment", "") for job in run.jobs.values()})
    cores, megabytes, minutes, gpus = ASKED[rule]
    for job in jobs:
        assert job["JobState"] == "COMPLETED"
        assert int(job["NumCPUs"]) == cores
        assert in_megabytes(job["MinMemoryNode"]) == megabytes
        assert job["TimeLimit"] == slurm_time(minutes)
        asked = " ".join(value for name, value in job.items() if name.startswith("TresPer"))
        assert (f"gpu:{gpus}" in asked) if gpus else ("gpu" not in asked), job


def in_megabytes(memory: str) -> float:
    """What SLURM writes as 8000M or 62.50G."""
    return float(memory[:-1]) * {"M": 1, "G": 1024}[memory[-1]]


def slurm_time(minutes: int) -> str:
    """Minutes as SLURM writes them."""
    days, rest = divmod(minutes, 1440)
    return (f"{days}-" if days else "") + f"{rest // 60:02d}:{rest % 60:02d}:00"


def test_tiny_stages_were_none(run):
    comments = {job.get("Comment", "") for job in run.jobs.values()}
    assert not [comment for comment in comments if re.match(r"rule_(manifest|quality|report|baseline)", comment)]


def test_slurms_own_record_agrees(cluster, run):
    """The file that the controller writes when a job ends knows the same jobs."""
    recorded = {job.identity: job for job in cluster.jobs()}
    for identity, seen in run.jobs.items():
        if rule_of(seen) in ASKED:
            assert recorded[identity].state == "COMPLETED"
            assert recorded[identity].resources["cpu"] == seen["NumCPUs"]


def test_the_account_is_charged(with_accounting):
    """By SLURM's database."""
    told = subprocess.run(["sacct", "-X", "--noheader", "--parsable2", "--format=JobID,State,Account"], capture_output=True, text=True)
    recorded = {identity: (state, account) for identity, state, account in (line.split("|") for line in told.stdout.splitlines())}
    heavy = [identity for identity, job in with_accounting.jobs.items() if job.get("Account") == ACCOUNT]
    assert {rule_of(with_accounting.jobs[identity]) for identity in heavy} >= set(ASKED)
    assert {recorded[identity] for identity in heavy} == {("COMPLETED", ACCOUNT)}


def running(rule: str, controller: subprocess.Popen, folder: Path, mark: str = "") -> str:
    """Wait until a job of `rule` runs, and its log holds `mark`; its number."""

    def found() -> list[str]:
        assert controller.poll() is None, said(folder)
        told = subprocess.run(["squeue", "--noheader", "--states=RUNNING", "--format=%i %k"], capture_output=True, text=True).stdout
        jobs = [line.split()[:2] for line in told.splitlines()]
        return [job for job, comment in jobs if rule_of({"Comment": comment}) == rule]

    def logged() -> bool:
        logs = list(folder.glob(f"results/*/logs/{rule}*.log"))
        return not mark or any(mark in log.read_text() for log in logs)

    wait_for(lambda: bool(found()) and logged(), f"a job of {rule}", lambda: said(folder), 300)
    return found()[0]


def ended(job: str, state: str, cluster: Cluster) -> bool:
    """Whether SLURM's record says that the job ended, once, in `state`."""
    return any(record.identity == job and record.state.startswith(state) for record in cluster.jobs())


def slurm(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@pytest.mark.slow
def test_nothing_that_happens_on_a_cluster_is_lost(cluster, without_accounting, tmp_path):
    """Cancelled, out of time, its node down, preempted, the controller killed: the artifacts are those of the undisturbed run."""
    command = prepared(tmp_path, "on-slurm")
    controller = start(command, tmp_path)

    cancelled = running("pack", controller, tmp_path)
    slurm("scancel", cancelled)

    late = running("pretrain", controller, tmp_path, "epoch 1 of")
    for process in processes_of("pretrain", tmp_path):
        os.kill(process, signal.SIGSTOP)  # it will not end before its time does; SLURM lets it go on to say that it is over
    slurm("scontrol", "update", f"JobId={late}", "TimeLimit=1")
    wait_for(lambda: ended(late, "TIMEOUT", cluster), "the time-out", lambda: said(tmp_path), 240)

    lost = running("pretrain", controller, tmp_path, "goes on at epoch")
    node = re.search(r" NodeList=(\w+)", subprocess.run(["scontrol", "-o", "show", "job", lost], capture_output=True, text=True).stdout)
    assert node
    slurm("scontrol", "update", f"NodeName={node[1]}", "State=DOWN", "Reason=test")
    wait_for(lambda: not processes_of("pretrain", tmp_path), "the node's processes to end", lambda: said(tmp_path))
    subprocess.run(["scontrol", "update", f"NodeName={node[1]}", "State=RESUME"])  # unless it has come back by itself

    cancelled = running("train", controller, tmp_path, "epoch 1 of")
    slurm("scancel", cancelled)  # a SIGTERM to all processes of the job, data workers among them
    running("train", controller, tmp_path, "goes on at epoch")
    controller.kill()
    controller.wait()
    controller = start(command, tmp_path)  # its jobs live on; the second training waits for the first

    preempted = running("extract", controller, tmp_path)
    slurm("sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")
    wait_for(
        lambda: ended(preempted, "PREEMPTED", cluster) or "extract" not in stages_in(tmp_path), "the preemption", lambda: said(tmp_path)
    )

    assert controller.wait(600) == 0, said(tmp_path)
    assert differences(without_accounting.results, tmp_path / "results" / "on-slurm") == []


@pytest.mark.slow
def test_trainings_longer_than_their_time_limits_get_through(cluster, without_accounting, tmp_path):
    """Each is over after a step of an allocation: more than thirty of them, none of which counts as a retry."""
    command = prepared(tmp_path, "on-slurm", leave_minutes=1.0)
    limits = ["--set-resources", *(f"{rule}:runtime=1" for rule in TRAININGS), "--retries", "0"]
    controller = start([*command, *limits], tmp_path)
    starts: dict[str, int] = {}
    while controller.poll() is None:
        shown = subprocess.run(["scontrol", "--oneliner", "show", "job"], capture_output=True, text=True).stdout
        for job in (dict(re.findall(r"(\w+)=(\S*)", line)) for line in shown.splitlines()):
            if "Comment" in job and rule_of(job) in TRAININGS:
                starts[rule_of(job)] = max(starts.get(rule_of(job), 0), 1 + int(job["Restarts"]))
        time.sleep(1)
    assert controller.returncode == 0, said(tmp_path)
    assert sum(starts.values()) >= 30, starts
    assert differences(without_accounting.results, tmp_path / "results" / "on-slurm") == []


def processes_of(stage: str, folder: Path) -> list[int]:
    """The processes of a stage."""
    return stages_in(folder).get(stage, [])


def test_a_training_spreads_over_nodes(cluster, tmp_path):
    """Two nodes with two GPUs each: four processes, which share their batches."""
    command = prepared(tmp_path, "spread", gpus=2, nodes=2, threads=1)
    controller = start([*command, "--", "pretrained"], tmp_path)
    job = running("pretrain", controller, tmp_path, "epoch 1 of")
    shown = subprocess.run(["scontrol", "-o", "show", "job", job], capture_output=True, text=True).stdout
    assert " NumNodes=2 " in shown and "gres/gpu:2" in shown.replace("gres:gpu", "gres/gpu"), shown
    started = processes_of("pretrain", tmp_path)
    ranks = [
        environment_of(process)["RANK"] for process in started if parent_of(process) not in started and "RANK" in environment_of(process)
    ]
    assert sorted(ranks) == ["0", "1", "2", "3"]  # their data workers aside
    assert controller.wait(300) == 0, said(tmp_path)
    assert (tmp_path / "results/spread/iter_0/model.pt").exists()


def parent_of(process: int) -> int:
    """0 where the process has ended: data workers come and go with the epochs."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
