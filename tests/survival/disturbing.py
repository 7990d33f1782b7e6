r"""Kill a running experiment again and again, at random moments in a chosen stage, and see that nothing is lost.

    python -m tests.survival.disturbing --kills 80 --seed 1 --into /tmp/survival --report benchmarks/survival.json
    python -m tests.survival.disturbing --kills 30 --seed 1 --into /tmp/survival-faces --report benchmarks/survival.json --faces
    python -m tests.survival.disturbing --kills 20 --into /tmp/survival-signals --report benchmarks/survival.json --name signals \
        --stages pretrain train --ways 'terminate the stage' 'terminate everything'
    python -m tests.survival.disturbing --kills 40 --into /tmp/survival-ranks --report benchmarks/survival.json --processes 4

An undisturbed run of a cut of the demo comes first. Then the same is run with one kill after another: of the stage's processes
(SIGKILL, SIGTERM; data workers are among them), of Snakemake alone (SIGKILL: its jobs live on), of both, SIGTERM to all as SLURM
sends it, and SIGINT to all as from a keyboard. With several processes per training, one of them is stopped (SIGSTOP) or killed.
After each, the same command is given again. In the end every artifact must equal the undisturbed one's, bit for bit but for wall
times.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import pandas as pd
import torch
from snakemake.utils import update_config
from tqdm import tqdm

from selfsv.artifacts import write_text
from tests.cut import WALL_TIME, command_for, overlay_for, said, start

# Stages in the order of the workflow, and what each makes.
MADE = {
    "listing": ["data/*/listing.parquet"],
    "pack": ["data/*/audio-*.pt", "data/*/manifest-*.parquet"],
    "noise": ["data/noise.pt"],
    "rirs": ["data/rirs.pt"],
    "faces": ["data/train/faces-*"],
    "pretrain": ["iter_0/model.pt", "state/pretrain-*.pt"],
    "extract": ["iter_*/embeddings/*"],
    "cluster": ["iter_*/pseudo_labels.parquet"],
    "train": ["iter_1/model.pt", "state/train-*.pt"],
    "train_av": ["iter_1/model.pt", "state/train-*.pt"],
    "extract_av": ["iter_1/embeddings/train.parquet"],
    "score": ["iter_*/scores/*"],
    "report": ["metrics.parquet", "report.html"],
}
AUDIO = [stage for stage in MADE if stage not in ("faces", "train_av", "extract_av")]
FACES = [stage for stage in MADE if stage != "train"]
WAYS = ("kill the stage", "terminate the stage", "kill Snakemake", "kill both", "interrupt everything", "terminate everything")
OF_RANKS = ("stop a rank", "kill a rank")
STALL_MINUTES = 0.2
# A training is worth disturbing for longer than its processes take to start.
LONGER = {"pretrain": {"epochs": 8}, "train": {"epochs": 10, "gate": {"gate_start_epoch": 5}}}
PATIENCE = 240.0  # seconds for a stage to come, or for a run to end after a kill
SECONDS_BETWEEN_LOOKS = 0.05
ATTEMPTS = 3  # at one kill: a stage may end before its moment comes


class Kill(NamedTuple):
    """One disturbance."""

    stage: str
    way: str
    moment: float  # in parts of what the stage took undisturbed, after its process was first seen
    rank: int = 0  # of the process that is stopped or killed


Prepare = Callable[[Path], list[str]]  # puts an experiment into a folder and returns the command that runs it there


def prepare(folder: Path, *, faces: bool = False, processes: int = 1, options: Sequence[str] = ()) -> list[str]:
    """A cut of the demo in `folder`, and the command that runs it there.

    Args:
        faces: whether it is audio-visual.
        processes: of each training. With several, trainings are longer, and soon miss one that stalls.
        options: in the place of Snakemake's usual ones.
    """
    runtime = {"device": "cpu", "threads": 1, "workers": 2, "checkpoint_minutes": 0.02}
    if processes > 1:
        runtime |= {"device": "auto", "gpus": processes, "workers": 0, "stall_minutes": STALL_MINUTES}
    overlay = overlay_for(folder, faces, experiment="disturbed", rounds=1, baselines=False, runtime=runtime)
    if processes > 1:
        update_config(overlay, LONGER)
    return command_for(folder, overlay, *options)


def finish(command: list[str], folder: Path) -> dict[str, float]:
    """Run to the end, undisturbed; seconds that each stage's longest process took.

    Raises:
        RuntimeError: the run failed; the message holds the end of what it said.
    """
    run = start(command, folder)
    first: dict[tuple[str, int], float] = {}
    took: dict[str, float] = {}
    while run.poll() is None:
        for stage, processes in stages_in(folder).items():
            for process in processes:
                now = time.monotonic()
                took[stage] = max(took.get(stage, 0.0), now - first.setdefault((stage, process), now))
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if run.returncode:
        raise RuntimeError(said(folder))
    return took


def stages_in(folder: Path) -> dict[str, list[int]]:
    """The processes of each stage that work in `folder`, on whichever node: all are this machine."""
    return stages_where(lambda process: Path(f"/proc/{process}/cwd").readlink() == folder)


def stages_where(condition: Callable[[int], bool]) -> dict[str, list[int]]:
    """The processes of each stage that `condition` holds for."""
    found: dict[str, list[int]] = {}
    for process in (int(path.name) for path in Path("/proc").glob("[0-9]*")):
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
            chosen = condition(process)
        except OSError:
            continue
        modules = [after for word, after in pairwise(words) if word == "-m" and after.startswith("pipeline.")]
        if chosen and modules and modules[0] != "selfsv.engine.launch":
            found.setdefault(modules[0].removeprefix("pipeline."), []).append(process)
    return found


def environment_of(process: int) -> dict[str, str]:
    """The variables that a process was started with; none where it has ended."""
    try:
        pairs = Path(f"/proc/{process}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def send(number: int, processes: list[int]) -> None:
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            continue


def disturb(kill: Kill, seconds: float, command: list[str], folder: Path) -> bool:
    """Start the run, wait for the stage, wait `seconds` more, strike. False if the stage did not come or had ended by then."""
    run = start(command, folder)
    if until(lambda: kill.stage in stages_in(folder) or run.poll() is not None):
        time.sleep(seconds)
    workers = stages_in(folder).get(kill.stage, [])
    if kill.way in OF_RANKS:
        workers = [process for process in workers if environment_of(process).get("RANK") == str(kill.rank)]
    if run.poll() is not None or (kill.way in OF_RANKS and not workers):
        end(run, folder)
        return False
    way = kill.way if workers else "interrupt everything"
    if way in ("kill the stage", "kill both", "kill a rank"):
        send(signal.SIGKILL, workers)
    if way == "stop a rank":
        send(signal.SIGSTOP, workers)
    if way == "terminate the stage":
        send(signal.SIGTERM, workers)
    if way in ("kill Snakemake", "kill both"):
        run.kill()
    if way == "interrupt everything":
        os.killpg(run.pid, signal.SIGINT)
    if way == "terminate everything":
        os.killpg(run.pid, signal.SIGTERM)
    # Jobs of a killed Snakemake live on, and the next run meets them: that is the point of it.
    if not until(lambda: run.poll() is not None):
        raise RuntimeError(f"Snakemake did not end after {kill}: {said(folder)}")
    if kill.way in OF_RANKS and run.returncode == 0:
        raise RuntimeError(f"the run went on as if nothing had happened after {kill}: {said(folder)}")
    return bool(workers)


def end(run: subprocess.Popen, folder: Path) -> None:
    """Interrupt a run that came to no strike."""
    if run.poll() is None:
        os.killpg(run.pid, signal.SIGINT)
    if not until(lambda: run.poll() is not None):
        raise RuntimeError(f"Snakemake did not end after SIGINT: {said(folder)}")


def until(condition: Callable[[], bool]) -> bool:
    """Whether `condition` came to hold before patience ended."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return True


def forget(stage: str, results: Path) -> None:
    """Remove what a stage and all later ones made, so that it comes again."""
    stages = list(MADE)
    for pattern in (pattern for later in stages[stages.index(stage) :] for pattern in MADE[later]):
        for path in results.glob(pattern):
            path.unlink()


def drawn(stages: list[str], kills: int, seed: int, ways: Sequence[str] = WAYS, processes: int = 1) -> list[Kill]:
    """The disturbances: as many for each stage, in the order of the workflow, each with a random way, moment and rank."""
    rng = np.random.default_rng(seed)
    chosen = [stages[index * len(stages) // kills] for index in range(kills)]
    return [Kill(stage, ways[rng.integers(len(ways))], float(rng.random()), int(rng.integers(processes))) for stage in chosen]


def undisturbed(folder: Path, prepare: Prepare = prepare) -> dict[str, float]:
    """Run the experiment in `folder` to the end; seconds that each stage took."""
    folder.mkdir(parents=True)
    return finish(prepare(folder), folder)


def survive(kills: list[Kill], wild: Path, took: dict[str, float], prepare: Prepare = prepare) -> Counter[tuple[str, str]]:
    """Run the experiment in `wild` to the end through `kills`; those that struck, by stage and way.

    Args:
        took: seconds that each stage takes undisturbed.
    """
    wild.mkdir(parents=True)
    command = prepare(wild)
    struck: Counter[tuple[str, str]] = Counter()
    for kill in tqdm(kills, desc="kills", disable=None):
        for attempt in range(ATTEMPTS):
            # Sooner each time: the undisturbed run may have had a busier machine.
            if disturb(kill, kill.moment * took[kill.stage] / 2**attempt, command, wild):
                struck[kill.stage, kill.way] += 1
                break
            forget(kill.stage, results_in(wild))
    finish(command, wild)
    return struck


def results_in(folder: Path) -> Path:
    return folder / "results" / "disturbed"


def differences(calm: Path, wild: Path) -> list[str]:
    """Artifacts that one run lacks, or that are not the same in both; and files that should not be there."""
    kept, found = artifacts(calm), artifacts(wild)
    left = [path.relative_to(wild) for path in wild.rglob("*.partial*")]
    different = [path for path in kept & found if not same(calm / path, wild / path)]
    return sorted(map(str, {*(kept ^ found), *different, *left}))


def artifacts(results: Path) -> set[Path]:
    """What an experiment is made of; trainers' states come and go."""
    files = (path.relative_to(results) for path in results.rglob("*") if path.suffix in (".parquet", ".pt"))
    return {path for path in files if "state" not in path.parts}


def same(one: Path, other: Path) -> bool:
    """Whether two artifacts are equal, wall times aside."""
    if one.name == "history.parquet":
        frames = [pd.read_parquet(path).drop(columns=WALL_TIME) for path in (one, other)]
        return frames[0].equals(frames[1])
    return one.read_bytes() == other.read_bytes()


def main() -> None:
    """Disturb, compare, and say what came of it."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--kills", type=int, default=100)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--into", type=Path, required=True, help="an empty folder on a local disk")
    arguments.add_argument("--ways", nargs="+", choices=WAYS + OF_RANKS, help="of striking, from which each kill's is drawn")
    arguments.add_argument("--stages", nargs="+", choices=list(MADE), help="that are struck, in the order of the workflow; default: all")
    arguments.add_argument("--faces", action="store_true", help="disturb the audio-visual experiment")
    arguments.add_argument("--processes", type=int, default=1, help="of each training; with several, one of them is struck")
    arguments.add_argument("--name", help="of the outcome in the report; default: audio, audio-visual or ranks")
    arguments.add_argument("--report", type=Path, help="a JSON file for the outcomes of both experiments")
    args = arguments.parse_args()
    begun = time.monotonic()
    calm, wild = args.into.resolve() / "calm", args.into.resolve() / "wild"
    stages = args.stages or (["pretrain", "train"] if args.processes > 1 else FACES if args.faces else AUDIO)
    ways = args.ways or (OF_RANKS if args.processes > 1 else WAYS)
    prepared = partial(prepare, faces=args.faces, processes=args.processes)
    struck = survive(drawn(stages, args.kills, args.seed, ways, args.processes), wild, undisturbed(calm, prepared), prepared)
    different = differences(results_in(calm), results_in(wild))
    outcome = {
        "kills": sum(struck.values()),
        "by_stage": {stage: sum(count for (name, _), count in struck.items() if name == stage) for stage in stages},
        "by_way": {way: sum(count for (_, name), count in struck.items() if name == way) for way in ways},
    }
    name = args.name or ("ranks" if args.processes > 1 else "audio-visual" if args.faces else "audio")
    end_with(outcome, different, begun, args.report, name)


def end_with(outcome: dict[str, object], different: list[str], begun: float, report: Path | None, name: str) -> NoReturn:
    """Say what came of it, with the time since `begun` and the machine; keep it in `report` under `name`; end the program."""
    outcome |= {
        "artifacts_lost_or_different": different,
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}",
        "date": date.today().isoformat(),
    }
    print(json.dumps(outcome, indent=2))
    if report:
        outcomes = json.loads(report.read_text()) if report.exists() else {}
        write_text(report, json.dumps({**outcomes, name: outcome}, indent=2) + "\n")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
