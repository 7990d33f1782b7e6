"""The stages that see a whole corpus at once, on a made-up corpus of VoxCeleb2's size: time and peak memory of each.

    python benchmarks/scale.py --into FOLDER

1,091,251 utterances of 5,994 made-up speakers with embeddings of 192 numbers, and 581,480 trials on 145,160 more utterances.
No audio is involved. Every stage runs as its rule calls it, with the settings of config.yaml. Beside what it took stands the least
that it could take: its arrays once in memory, its files read and written once, its multiply-adds at the rate of this machine's
float32 matrix product. Prints JSON and saves it as benchmarks/scale.json. `--only` measures some stages anew and keeps the
others' figures; `--utterances` and its like make everything smaller, to see whether it runs.
"""

import argparse
import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `pipeline`, also where the project is not installed

from selfsv.artifacts import write_embeddings, write_table, write_text
from selfsv.scoring.systems import BASELINES
from selfsv.settings.experiment import Experiment, resolve
from selfsv.settings.jobs import MetricJob

REPOSITORY = Path(__file__).resolve().parents[1]
LIST = "vox1_e"  # the longest of the configuration's trial lists
FLOAT, MEGA = 4, 1e6

# These two have no script: they are parts of a training.
GATE = """
import sys
from selfsv.artifacts import read_table
from selfsv.losses.loss_gate import refit
print(refit(read_table(sys.argv[1], ["loss_clean"])["loss_clean"].to_numpy(), None))
"""
SAMPLING = """
import sys
from selfsv.artifacts import read_table
from selfsv.data.batches import ClusterPartners, epoch_order, generator
labels = read_table(sys.argv[1], ["label"])["label"].to_numpy("int64")
partners = ClusterPartners(labels)
order = epoch_order(1, 0, 90, len(labels)).tolist()
assert all((labels[partners.draw(generator(1, 0, 90, item), item, 6)] == labels[item]).all() for item in order)
"""


class Size(NamedTuple):
    """How much is made up."""

    utterances: int
    tested: int
    trials: int
    speakers: int
    clusters: int
    iterations: int


VOXCELEB = Size(utterances=1_091_251, tested=145_160, trials=581_480, speakers=5_994, clusters=7_500, iterations=25)
REJECTED = 0.005  # rows of a manifest beyond the usable ones, as a share of these
DIMENSIONS = 192
SPREAD = 1.7  # of the utterances of a voice around it, as a multiple of that of the voices: makes an EER of some percent
SHARDS = 64


class Stage(NamedTuple):
    """A stage to measure, and what it cannot do without."""

    name: str
    command: list[object]
    rule: str  # that bounds its memory
    reads: list[Path]
    writes: list[Path]
    least_bytes: float  # of the arrays that it works on, each held once
    multiply_adds: float = 0.0


def main() -> None:
    """Make the corpus, run the stages, print and save what they took."""
    args = arguments()
    size = Size(*(getattr(args, name) for name in Size._fields))
    folder = args.into / "-".join(map(str, size)) / "voxceleb"
    experiment = experiment_of(size)
    if not (folder / "made").exists():
        alone(make, folder, size, experiment)
    rate = alone(multiply_adds_per_second)
    known = json.loads(args.save.read_text())["stages"] if args.only and args.save.exists() else {}
    for stage in stages(folder, size, experiment, args.threads):
        if not args.only or stage.name in args.only:
            known[stage.name] = measured([str(part) for part in stage.command])
            print(json.dumps({stage.name: known[stage.name]}), file=sys.stderr, flush=True)
        if stage.name == LAST_OF_ONE_SYSTEM:
            share(folder, experiment)
    made = stages(folder, size, experiment, args.threads)  # now that all their files are there
    outcome = {
        "machine": f"{os.cpu_count()} cores of an {processor()}, no GPU",
        "date": date.today().isoformat(),
        "threads": args.threads,
        "multiply_adds_per_second_and_core": rate,
        "size": size._asdict(),
        "embeddings_megabytes": megabytes(size.utterances * DIMENSIONS * FLOAT),
        "stages": {stage.name: compared(stage, known[stage.name], rate) for stage in made if stage.name in known},
        "versions": {name: version(name) for name in ("faiss-cpu", "numpy", "pandas", "pyarrow", "scikit-learn")},
    }
    text = json.dumps(outcome, indent=2)
    args.save.write_text(text + "\n")
    print(text)


def arguments() -> argparse.Namespace:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--into", type=Path, required=True, help="a folder with 5 GB to spare")
    made.add_argument("--save", type=Path, default=REPOSITORY / "benchmarks" / "scale.json")
    made.add_argument("--only", nargs="+", metavar="STAGE", help="measure these alone; what they read must be there")
    made.add_argument("--threads", type=int, default=os.cpu_count())
    for name, value in VOXCELEB._asdict().items():
        made.add_argument(f"--{name}", type=int, default=value)
    return made.parse_args()


def experiment_of(size: Size) -> Experiment:
    """The default configuration, with as many clusters and iterations as asked for."""
    config = yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))
    config["cluster"] |= {"clusters": size.clusters, "iterations": size.iterations}
    return resolve(config)


# The stages -----------------------------------------------------------------------------------------------------------

LAST_OF_ONE_SYSTEM = "score"


def stages(folder: Path, size: Size, experiment: Experiment, threads: int) -> list[Stage]:
    """What to measure, in order: each uses the files of those before it."""
    system, train = folder / "iter_0", folder / "data" / "train"
    embeddings, tested = (system / "embeddings" / f"{corpus}.parquet" for corpus in ("train", "voxceleb1"))
    labels, scores, losses = system / "pseudo_labels.parquet", system / "scores" / f"{LIST}.parquet", folder / "losses.parquet"
    quality, manifest = system / "cluster_quality.parquet", train / "manifest.parquet"
    shards = [train / f"manifest-{shard}.parquet" for shard in range(SHARDS)]
    trials, test_manifest = folder / "trials.txt", folder / "data" / "voxceleb1" / "manifest.parquet"
    all_scores = [folder / name / "scores" / f"{trials}.parquet" for name in systems(experiment) for trials in experiment.trials]
    settings = [part.to_json() for part in (experiment.rejection, experiment.cluster, experiment.score, MetricJob.of(experiment))]
    rejection, cluster, score, metrics = settings
    columns = {"labels": 8 * size.utterances, "embeddings": FLOAT * DIMENSIONS * size.utterances}
    means, units = FLOAT * DIMENSIONS * size.clusters, FLOAT * DIMENSIONS * size.tested
    return [
        Stage(
            "manifest",
            ["-m", "pipeline.manifest", "--settings", rejection, "--shards", *shards, "--manifest", manifest],
            "manifest",
            shards,
            [manifest],
            least_bytes=contents(shards),
        ),
        Stage(
            "cluster",
            [
                *("-m", "pipeline.cluster", "--settings", cluster, "--seed", experiment.seed, "--embeddings", embeddings),
                *("--modality", "audio", "--output", labels, "--threads", threads),
            ],
            "cluster",
            [embeddings],
            [labels],
            least_bytes=columns["embeddings"] + means,
            multiply_adds=float(size.utterances) * size.clusters * DIMENSIONS * (size.iterations + 1),
        ),
        Stage("gate", ["-c", GATE, losses], "train", [losses], [], least_bytes=8 * size.utterances),
        Stage("partners", ["-c", SAMPLING, labels], "pretrain", [labels], [], least_bytes=3 * columns["labels"]),
        Stage(
            "quality",
            ["-m", "pipeline.quality", "--pseudo-labels", labels, "--speakers", train / "speakers.parquet", "--output", quality],
            "quality",
            [labels, train / "speakers.parquet"],
            [quality],
            least_bytes=contents([train / "speakers.parquet"]) + columns["labels"],
        ),
        Stage(
            "score",
            [
                *("-m", "pipeline.score", "--settings", score, "--trials", trials, "--manifest", test_manifest, "--embeddings", tested),
                *("--train-embeddings", embeddings, "--pseudo-labels", labels, "--output", scores),
            ],
            "score",
            [trials, test_manifest, tested, embeddings, labels],
            [scores],
            least_bytes=columns["embeddings"] + columns["labels"] + means + units,
            multiply_adds=float(DIMENSIONS) * (size.tested * size.clusters + size.trials + size.utterances),
        ),
        Stage(
            "metrics",
            [
                *("-m", "pipeline.metrics", "--settings", metrics, "--scores", *all_scores),
                *("--manifests", test_manifest, "--speakers", test_manifest.with_name("speakers.parquet")),
                *("--output", folder / "metrics.parquet", "--comparisons", folder / "comparisons.parquet"),
                *("--det-bands", folder / "det_bands.parquet", "--conditions", folder / "conditions.parquet"),
            ],
            "metrics",
            all_scores,
            [folder / name for name in ("metrics.parquet", "comparisons.parquet", "det_bands.parquet", "conditions.parquet")],
            least_bytes=(2 * FLOAT + 1) * size.trials,
        ),
        Stage(
            "report",
            [
                *("-m", "pipeline.report", "--settings", experiment.to_json()),
                *("--results", folder, "--output", folder / "report.html"),
            ],
            "report",
            [path for path in folder.rglob("*.parquet") if path not in shards and "embeddings" not in path.parts],
            [folder / "report.html"],
            # The curve of one system at a time, and lengths, states and sessions of the manifest as numbers.
            least_bytes=2 * 8 * size.trials + 3 * 8 * size.utterances,
        ),
    ]


def systems(experiment: Experiment) -> list[str]:
    """The experiment's systems, the measured one first."""
    return [*(f"iter_{index}" for index in range(experiment.rounds + 1)), *BASELINES]


def share(folder: Path, experiment: Experiment) -> None:
    """Give the files of the one system that was scored on one list to all systems and lists: as many, and as long, as in a whole run."""
    source = folder / "iter_0"
    for name in systems(experiment):
        wanted = {f"{name}/{file}": source / file for file in ("pseudo_labels.parquet", "cluster_quality.parquet")}
        wanted |= {f"{name}/scores/{trials}.parquet": source / "scores" / f"{LIST}.parquet" for trials in experiment.trials}
        if name in systems(experiment)[1 : experiment.rounds + 1]:
            wanted[f"{name}/losses.parquet"] = folder / "losses.parquet"
        for place, file in wanted.items():
            target = folder / place
            if file.exists() and target != file:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                os.link(file, target)


# Measuring ------------------------------------------------------------------------------------------------------------


def measured(command: list[str]) -> dict[str, float]:
    """What one stage takes, in a process of its own; `processor_seconds` are those of all cores together."""
    load, start = os.getloadavg()[0], time.monotonic()
    process = subprocess.Popen([sys.executable, *command], cwd=REPOSITORY, stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        sys.exit(f"failed: {command[:2]}")
    return {
        "seconds": round(time.monotonic() - start, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_megabytes": megabytes(1024 * usage.ru_maxrss),
        "load_before": round(load, 1),
    }


def compared(stage: Stage, took: dict[str, float], rate: float) -> dict[str, object]:
    """What a stage took beside the least that it could take.

    Args:
        rate: multiply-adds per second of one core.
    """
    arithmetic = stage.multiply_adds / rate
    return {
        **{name: took[name] for name in ("seconds", "processor_seconds", "peak_megabytes", "load_before")},
        "allowed_megabytes": allowed(stage.rule),
        "least": {
            "megabytes_in_memory": megabytes(stage.least_bytes),
            "megabytes_read": megabytes(sum(path.stat().st_size for path in stage.reads)),
            "megabytes_written": megabytes(sum(path.stat().st_size for path in stage.writes)),
            "multiply_adds": stage.multiply_adds,
            "processor_seconds_of_arithmetic": round(arithmetic, 1),
        },
        "measured_over_least": {
            "memory": round(took["peak_megabytes"] * MEGA / stage.least_bytes, 1),
            "processor_seconds": round(took["processor_seconds"] / arithmetic, 1) if arithmetic else None,
        },
    }


def alone(function: Callable[..., Any], *args: object) -> Any:
    """What `function` returns in a process of its own: Linux counts the parent's memory into the peak of what it starts."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


def multiply_adds_per_second() -> float:
    """The rate of a large float32 matrix product on one core, the best of several.

    By the processor's time, not the clock's: other work on the machine must not make the rate look lower than it is.
    """
    side = 4096
    one, other = np.random.default_rng(1).random((2, side, side), dtype=np.float32)
    seconds = []
    with threadpool_limits(1):
        for _ in range(6):
            start = time.process_time()
            one @ other
            seconds.append(time.process_time() - start)
    return float(f"{side**3 / min(seconds):.3g}")


def allowed(rule: str) -> int | None:
    """The memory that a rule asks for in its first attempt, or else the rule that it inherits from; megabytes."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / "workflow" / "rules").glob("*.smk")))
    found = re.search(rf"^ *(?:use rule (\w+) as {rule} with|rule {rule}):(.*?)(?=^ *(?:use )?rule |\Z)", text, re.DOTALL | re.MULTILINE)
    if found is None:
        return None
    memory = re.search(r"mem_mb=\D*(\d+)", found[2])
    return int(memory[1]) if memory else allowed(found[1]) if found[1] else None


def contents(paths: list[Path]) -> float:
    """Bytes of Parquet files' columns before compression."""
    files = [pq.ParquetFile(path).metadata for path in paths]
    return float(sum(file.row_group(group).total_byte_size for file in files for group in range(file.num_row_groups)))


def megabytes(count: float) -> float:
    """Of 10^6 bytes."""
    return round(count / MEGA) if count >= 10 * MEGA else round(count / MEGA, 1)


def processor() -> str:
    """The processor's name, where the system tells it."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else None
    return re.sub(r"\((R|TM)\)", "", found[1]) if found else "unknown processor"


# The made-up corpus ---------------------------------------------------------------------------------------------------


def make(folder: Path, size: Size, experiment: Experiment) -> None:
    """Embeddings, manifests, speakers, losses, histories and trials, all from one seed."""
    rng = np.random.default_rng(1)
    voices = rng.normal(size=(size.speakers, DIMENSIONS)).astype(np.float32)
    for corpus, count in (("train", size.utterances), ("voxceleb1", size.tested)):
        speaker = np.sort(rng.integers(size.speakers, size=count))
        names = np.array([f"id{who:05d}/{row // 7:011d}/{row % 7:05d}" for row, who in enumerate(speaker)])
        embeddings = voices[speaker]
        embeddings += SPREAD * rng.standard_normal((count, DIMENSIONS), dtype=np.float32)
        write_embeddings(folder / "iter_0" / "embeddings" / f"{corpus}.parquet", names, embeddings)
        rows = manifest(names, rng)
        write_table(folder / "data" / corpus / "manifest.parquet", rows)
        known = pd.DataFrame({"utterance": names, "speaker": [name[:7] for name in names]})
        write_table(folder / "data" / corpus / "speakers.parquet", known)
        if corpus == "train":
            write_table(folder / "losses.parquet", losses(names, rng))
            for shard in range(SHARDS):
                write_table(folder / "data" / corpus / f"manifest-{shard}.parquet", rows[rows["shard"] == shard])
    write_text(folder / "trials.txt", trials(names, speaker, size.trials, rng))
    histories(folder, experiment)
    (folder / "made").touch()


def manifest(names: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """A row per utterance, and rejected ones beyond them."""
    rejected = int(REJECTED * len(names))
    every = [*names, *(f"id99999/{row // 7:011d}/{row % 7:05d}" for row in range(rejected))]
    bad = np.arange(len(every)) >= len(names)
    reasons = [f"too short: {row % 997 / 1000} s" if row % 2 else "silent" for row in range(rejected)]
    return pd.DataFrame(
        {
            "utterance": every,
            "path": [f"data/VoxCeleb2/dev/aac/{name}.m4a" for name in every],
            "session": [name.rpartition("/")[0] for name in every],
            "num_samples": np.where(bad, 0, rng.integers(4 * 16000, 20 * 16000, len(every))),
            "shard": np.arange(len(every)) % SHARDS,
            "offset": np.arange(len(every)) * 128_000,
            "status": np.where(bad, "rejected", "ok"),
            "reason": [*[""] * len(names), *reasons],
        }
    )


def losses(names: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Clean losses of right and of wrong labels."""
    wrong = rng.random(len(names)) < 0.25
    values = np.exp(np.where(wrong, rng.normal(1.8, 0.4, len(names)), rng.normal(-1.5, 0.9, len(names))))
    return pd.DataFrame({"utterance": names, "loss_clean": values.astype(np.float32), "decision": np.where(wrong, "corrected", "reliable")})


def trials(names: np.ndarray, speaker: np.ndarray, count: int, rng: np.random.Generator) -> str:
    """A list whose trials are of one speaker in about half of the lines."""
    first, second = rng.integers(len(names), size=(2, count))
    # Utterances are in order of speaker: neighbours mostly share one.
    second = np.where(rng.random(count) < 0.5, (first + 1) % len(names), second)
    same = (speaker[first] == speaker[second]).astype(int)
    return "".join(f"{label} {names[one]}.wav {names[other]}.wav\n" for label, one, other in zip(same, first, second, strict=True))


def histories(folder: Path, experiment: Experiment) -> None:
    """What the trainings of a whole run leave: an epoch a row."""
    for index in range(experiment.rounds + 1):
        epoch = np.arange(experiment.train.epochs if index else experiment.pretrain.epochs)
        falling = np.exp(-epoch / 30)
        common = {
            "epoch": epoch,
            "learning_rate": 0.1 * falling,
            "utterances_per_second": 800.0,
            "data_wait_seconds": 9.0,
            "seconds": 1364.0,
        }
        if index:
            course = {"loss": 12 * falling + 1, "loss_clean": 10 * falling + 1, "accuracy": 0.9 - 0.8 * falling}
            mixture = {"weight_1": 0.75, "mean_1": -1.5, "variance_1": 0.81, "weight_2": 0.25, "mean_2": 1.8, "variance_2": 0.16}
            shares = {"tau1": 2 + falling, "reliable": 0.75, "corrected": 0.15, "dropped": 0.1, "status": "fitted"}
            write_table(folder / f"iter_{index}" / "gate.parquet", pd.DataFrame({"modality": "audio", "epoch": epoch, **mixture, **shares}))
        else:
            course = {"loss": 7 + falling, "loss_dino": 6.8 + falling, "loss_cosine": 0.2 + 0.1 * falling}
            course |= {"teacher_entropy": 6 * falling + 1.5, "student_entropy": 5 * falling + 3}
        write_table(folder / f"iter_{index}" / "history.parquet", pd.DataFrame({**common, **course, "warning": ""}))


if __name__ == "__main__":
    main()
