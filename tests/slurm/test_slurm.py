"""`snakemake --profile slurm` on a real SLURM: a cut of the demo from files to the report, every heavy stage a job of its own."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest
import yaml
from snakemake.utils import update_config

from tests.end_to_end.test_loop import DEMO, REPOSITORY, SETTINGS, cut_of_the_demo
from tests.slurm.cluster import Cluster

# What a cluster without accounting needs, and shorter waits than on one that others use, too.
OPTIONS = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2"]
OPTIONS += ["--slurm-no-account", "--latency-wait", "5", "--jobs", "4"]
THREADS = 2
# Rule: cores, megabytes, minutes, GPUs, as the rules ask.
ASKED = {
    "listing": (1, 8000, 240, 0),
    "pack": (2, 16000, 240, 0),
    "noise": (2, 16000, 120, 0),
    "rirs": (2, 8000, 120, 0),
    "pretrain": (THREADS, 64000, 2880, 1),
    "extract": (THREADS, 32000, 720, 1),
    "cluster": (THREADS, 32000, 480, 0),
    "train": (THREADS, 64000, 2880, 1),
    "score": (2, 16000, 60, 0),
}


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


@pytest.fixture(scope="module")
def run(cluster: Cluster, tmp_path_factory) -> tuple[Path, dict[str, dict[str, str]]]:
    """The workflow, as a user starts it on a login node; its results, and what SLURM said about the jobs."""
    folder = tmp_path_factory.mktemp("login node")
    overlay = yaml.safe_load((DEMO / "config.yaml").read_text())
    update_config(overlay, SETTINGS)
    overlay |= {"experiment": "on-slurm", "rounds": 1, "baselines": False, **cut_of_the_demo(folder)}
    overlay["runtime"] = {"device": "auto", "gpus": 1, "threads": THREADS, "workers": 0}
    (folder / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    command = [sys.executable, "-m", "snakemake", "--profile", str(REPOSITORY / "slurm"), "--snakefile", str(REPOSITORY / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(folder / "overlay.yaml"), *OPTIONS]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    watch = Watch()
    watch.start()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    watch.finish()
    assert done.returncode == 0, done.stderr[-5000:] + done.stdout[-2000:]
    return folder / "results" / "on-slurm", watch.jobs


def rule_of(job: dict[str, str]) -> str:
    """The rule that a job carried out: the executor notes it in the comment."""
    found = re.match(rf"rule_({'|'.join(ASKED)})(?:_|$)", job.get("Comment", ""))
    return found[1] if found else job.get("Comment", "")


def test_the_run_ends_with_its_report(run):
    results, _ = run
    assert (results / "report.html").exists()
    assert set(pd.read_parquet(results / "metrics.parquet")["system"]) == {"iter_0", "iter_1"}


@pytest.mark.parametrize("rule", ASKED)
def test_every_heavy_stage_was_a_job_with_what_it_asked_for(rule, run):
    jobs = [job for job in run[1].values() if rule_of(job) == rule]
    assert jobs, sorted({job.get("Comment", "") for job in run[1].values()})
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
    comments = {job.get("Comment", "") for job in run[1].values()}
    assert not [comment for comment in comments if re.match(r"rule_(manifest|quality|metrics|report|baseline)", comment)]


def test_slurms_own_record_agrees(cluster, run):
    """The file that the controller writes when a job ends knows the same jobs."""
    recorded = {job.identity: job for job in cluster.jobs()}
    for identity, seen in run[1].items():
        if rule_of(seen) in ASKED:
            assert recorded[identity].state == "COMPLETED"
            assert recorded[identity].resources["cpu"] == seen["NumCPUs"]
