"""whether an experiment fits the GPUs, the disk and the corpus, and how long it takes, before anything is submitted

    selfsv plan mine.yaml --gpus 8 --nodes 2 --gpu-memory-gb 80
    selfsv plan systems/strong.yaml mine.yaml --gpus 4 --utterances 1000000 --hours 2200

Needs no GPU: each training's own code takes two steps at full size on tensors without values, which tells its memory and what it sends.
Overlays are read as Snakemake reads them with --configfile. Sizes of the corpus come from its manifest once it is packed.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import selfsv
from selfsv.cli.options import add_json
from selfsv.cli.status import DONE, ERROR
from selfsv.errors import InputError
from selfsv.prepare.adaptive import experiment_with
from selfsv.settings.experiment import Experiment
from selfsv.settings.reading import read_file
from selfsv.settings.section import merged

if TYPE_CHECKING:  # they take seconds to load
    from selfsv.engine.footprint import Footprint, Machines
    from selfsv.report.plan_checks import CorpusSize, Findings
    from selfsv.report.plan_disk import Disk
    from selfsv.report.plan_page import Plan

DEFAULTS = Path(selfsv.__file__).resolve().parents[1] / "config.yaml"  # of a checkout; the library has the same values


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("overlays", type=Path, nargs="+", metavar="YAML", help="configurations, the later ones over the earlier ones")
    parser.add_argument("--gpus", type=_positive, metavar="N", help="of each node (default: runtime.gpus)")
    parser.add_argument("--nodes", type=_positive, metavar="N", help="of a training (default: runtime.nodes)")
    parser.add_argument("--gpu-memory-gb", type=float, metavar="GB", help="of one GPU, in 10^9 bytes: 80 for an H100")
    parser.add_argument("--shared-memory-gb", type=float, metavar="GB", help="/dev/shm of one node")
    parser.add_argument("--ram-gb", type=float, metavar="GB", help="memory of one node, which keeps the audio that it has read")
    parser.add_argument("--disk-gb", type=float, metavar="GB", help="free for results (default: what is free at --results)")
    parser.add_argument("--utterances", type=_positive, metavar="N", help="of the training corpus (default: those of its manifest)")
    parser.add_argument("--hours", type=float, metavar="H", help="of audio of the training corpus (default: those of its manifest)")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="FOLDER", help="of the experiments (default: results)")
    parser.add_argument("--rates", type=Path, metavar="FILE", help="of benchmarks/training_speed.py (default: those of an H200)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Read, follow, compare, print."""
    from selfsv.report.plan_page import as_json, page

    plan = planned(args, experiment_of(args.overlays, args.results))
    print(json.dumps(as_json(plan)) if args.json else page(plan))
    for problem in plan.problems:
        print(f"selfsv: {problem}", file=sys.stderr)
    return ERROR if plan.problems else DONE


def experiment_of(overlays: Sequence[Path], results: Path) -> Experiment:
    """The experiment that Snakemake would see. What `recipe: adaptive` derives is that of a corpus of a usual size, until it is packed.

    Args:
        results: the folder of the experiments.

    Raises:
        SettingsError: a file cannot be read, or a key is unknown, missing or out of range.
    """
    defaults = read_file(DEFAULTS) if DEFAULTS.is_file() else {}
    overlay = reduce(merged, map(read_file, overlays))
    experiment = experiment_with(defaults, overlay)
    derived = results / experiment.experiment / "data" / experiment.train_corpus / "derived.yaml"
    return experiment_with(defaults, overlay, read_file(derived)) if derived.is_file() else experiment


def planned(args: argparse.Namespace, experiment: Experiment) -> "Plan":
    """Everything that can be known now.

    Raises:
        InputError: the experiment is to run on CPUs, or the rates cannot be read.
    """
    from selfsv.engine.footprint import Machines
    from selfsv.engine.sent import Links
    from selfsv.methods.footprints import extraction_memory, footprints
    from selfsv.report.plan_disk import disk_of
    from selfsv.report.plan_hours import H200, hours_of, read_rates
    from selfsv.report.plan_page import Plan

    runtime = experiment.runtime
    if runtime.device == "cpu" or not (gpus := args.gpus or runtime.gpus):
        raise InputError("this is a plan for GPUs: name their number with --gpus, and set runtime.device to auto or cuda")
    rates = read_rates(args.rates) if args.rates else H200
    machines = Machines(gpus, args.nodes or runtime.nodes, runtime.precision != "float32", runtime.compile is not False)
    corpus = corpus_of(args, experiment)
    found = list(footprints(experiment, machines, corpus.utterances if corpus else None))
    encoders = (0, experiment.rounds) if experiment.rounds and experiment.encoder.last_round else (0,)
    extraction = max(extraction_memory(experiment, iteration, bfloat16=machines.bfloat16) for iteration in encoders)
    disk = disk_of(experiment, corpus, found, gpus)
    hours = hours_of(experiment, corpus, found, machines, rates, Links()) if corpus else []
    problems, notes = findings(args, experiment, machines, corpus, found, disk, extraction)
    return Plan(experiment.experiment, machines, corpus, found, extraction, Links(), disk, rates, hours, problems, notes)


def corpus_of(args: argparse.Namespace, experiment: Experiment) -> "CorpusSize | None":
    """The training corpus as the options say, else as its manifest does; None where neither is there."""
    from selfsv.artifacts import read_table
    from selfsv.data.features import SAMPLE_RATE
    from selfsv.report.plan_checks import CorpusSize

    manifest = args.results / experiment.experiment / "data" / experiment.train_corpus / "manifest.parquet"
    if args.utterances is not None:
        return CorpusSize(args.utterances, args.hours, manifest.exists())
    if not manifest.exists():
        return None
    table = read_table(manifest, ["num_samples", "status"])
    usable = table.loc[table["status"] == "ok", "num_samples"]
    return CorpusSize(len(usable), float(usable.sum()) / SAMPLE_RATE / 3600, packed=True)


def findings(
    args: argparse.Namespace,
    experiment: Experiment,
    machines: "Machines",
    corpus: "CorpusSize | None",
    footprints: "Sequence[Footprint]",
    disk: "Disk",
    extraction: int,
) -> "Findings":
    """Problems and notes of everything that is compared."""
    from selfsv.report.plan_checks import Findings, batch_findings, corpus_findings, memory_problems, shared_memory_problems

    processes, runtime = machines.processes, experiment.runtime
    sizes = corpus_findings(experiment, corpus, processes) if corpus else Findings([], ["the corpus's size is not known: --utterances"])
    batches = batch_findings(footprints, processes)
    problems, notes = [*sizes.problems, *batches.problems], [*sizes.notes, *batches.notes]
    if args.gpu_memory_gb:
        problems += memory_problems(footprints, extraction, machines, args.gpu_memory_gb)
    if args.shared_memory_gb is not None:
        problems += shared_memory_problems(disk.shared_memory, args.shared_memory_gb, runtime.workers)
    problems += disk_problems(args, disk, packed=corpus is not None and corpus.packed)
    if args.ram_gb and disk.audio and disk.audio > 1e9 * args.ram_gb:
        notes.append(f"{args.ram_gb:g} GB of memory do not keep the {disk.audio / 1e9:.0f} GB of audio: crops are read from the disk")
    if (machines.gpus, machines.nodes) != (runtime.gpus, runtime.nodes):
        notes.append(f"for these machines the configuration needs runtime: {{gpus: {machines.gpus}, nodes: {machines.nodes}}}")
    return Findings(problems, notes)


def disk_problems(args: argparse.Namespace, disk: "Disk", *, packed: bool) -> list[str]:
    """Compare what is still to be written with the free disk."""
    folder = next(path for path in (args.results.absolute(), *args.results.absolute().parents) if path.exists())
    free = 1e9 * args.disk_gb if args.disk_gb is not None else shutil.disk_usage(folder).free
    if (missing := disk.missing(packed=packed)) <= free:
        return []
    return [f"{folder} has {free / 1e9:,.0f} GB free, but {missing / 1e9:,.0f} GB are to be written: make room, or name another --results"]


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value
