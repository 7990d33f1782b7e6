r"""Strike a whole `snakemake --profile slurm` at moments that nobody knows, again and again, and see that nothing is lost.

    python -m tests.slurm.disturbing --strikes 40 --mean-seconds 30 --into /tmp/strikes --report benchmarks/survival.json

A private SLURM of two nodes runs a cut of the demo, each training spread over both with two processes each. An undisturbed run comes
first. Then strikes come as a Poisson process, whatever is going on: one of a training's four processes is stopped (SIGSTOP) or killed, all
processes of a stage are killed, a job is cancelled, or Snakemake is killed. Where it has ended the same command is given again. In the end
every artifact must equal the undisturbed one's, bit for bit but for wall times.
"""

import argparse
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tests.cut import said, start
from tests.slurm.cluster import Cluster
from tests.slurm.submitted import prepared
from tests.survival.disturbing import STALL_MINUTES, differences, end_with, environment_of, send, stages_in

NAME = "struck"
WAYS = ("stop a rank", "kill a rank", "kill a stage", "cancel a job", "kill Snakemake")
SECONDS_BETWEEN_LOOKS = 0.5
CALM_SECONDS = 1200  # without strikes the run ends within them


def command_in(folder: Path) -> list[str]:
    """The experiment in `folder`, and the command that runs it."""
    folder.mkdir(parents=True)
    return prepared(folder, NAME, gpus=2, nodes=2, threads=1, workers=0, stall_minutes=STALL_MINUTES)


def undisturbed(folder: Path) -> None:
    """Run to the end.

    Raises:
        RuntimeError: the run failed.
    """
    if start(command_in(folder), folder).wait():
        raise RuntimeError(said(folder))


def survive(folder: Path, strikes: int, mean_seconds: float, seed: int) -> Counter[str]:
    """Run to the end through strikes; how many struck, by way.

    Raises:
        RuntimeError: the run did not end although nothing struck it any more.
    """
    rng = np.random.default_rng(seed)
    command, struck = command_in(folder), Counter[str]()
    run = start(command, folder)
    for _ in tqdm(range(strikes), desc="strikes", disable=None):
        way = ""
        while not way:
            time.sleep(rng.exponential(mean_seconds))
            if run.poll() == 0:
                return struck  # done before all strikes were dealt out
            if run.poll() is not None:
                run = start(command, folder)
            way = strike(run, folder, rng)
        struck[way] += 1
    end = time.monotonic() + CALM_SECONDS
    while run.poll() != 0:
        if time.monotonic() > end:
            raise RuntimeError(f"the run does not end: {said(folder)}")
        if run.poll() is not None:
            run = start(command, folder)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return struck


def strike(run: subprocess.Popen, folder: Path, rng: np.random.Generator) -> str:
    """Strike what there is to strike; the way, or nothing where it met nothing."""
    way, stages, jobs = str(rng.choice(WAYS)), stages_in(folder), running_jobs()
    processes = [process for stage in stages.values() for process in stage]
    ranks = [process for process in processes if "RANK" in environment_of(process)]
    if way in ("stop a rank", "kill a rank") and ranks:
        send(signal.SIGSTOP if way == "stop a rank" else signal.SIGKILL, [int(rng.choice(ranks))])
    elif way == "kill a stage" and stages:
        send(signal.SIGKILL, stages[str(rng.choice(sorted(stages)))])
    elif way == "cancel a job" and jobs:
        subprocess.run(["scancel", str(rng.choice(jobs))], check=False)
    elif way == "kill Snakemake" and run.poll() is None:
        run.kill()
        run.wait()
    else:
        return ""
    return way


def running_jobs() -> list[str]:
    """The numbers of the jobs that run."""
    told = subprocess.run(["squeue", "--noheader", "--states=RUNNING", "--format=%i"], capture_output=True, text=True)
    return told.stdout.split()


def main() -> None:
    """Strike, compare, and say what came of it."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--strikes", type=int, default=40)
    arguments.add_argument("--mean-seconds", type=float, default=30.0, help="between strikes")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--into", type=Path, required=True, help="an empty folder on a local disk")
    arguments.add_argument("--report", type=Path, help="a JSON file for the outcome")
    args = arguments.parse_args()
    begun, folder = time.monotonic(), args.into.resolve()
    with Cluster(folder / "slurm"):
        undisturbed(folder / "calm")
        struck = survive(folder / "wild", args.strikes, args.mean_seconds, args.seed)
    different = differences(*(folder / part / "results" / NAME for part in ("calm", "wild")))
    outcome = {
        "strikes": sum(struck.values()),
        "by_way": {way: struck[way] for way in WAYS},
        "mean_seconds_between": args.mean_seconds,
    }
    end_with(outcome, different, begun, args.report, "slurm")


if __name__ == "__main__":
    main()
