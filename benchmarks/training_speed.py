"""How fast everything that takes hours is: pretraining, rounds, extraction, clustering, and what feeds them.

    python benchmarks/training_speed.py --into FOLDER               # a GPU: the paper's sizes, half an hour, 15 GB
    python benchmarks/training_speed.py --into FOLDER --small       # to see on a CPU whether it runs

A made-up corpus is packed into FOLDER with the stages' own functions; trainings then run as their scripts run them, from the
files to the update of the weights, with data workers reading ahead. Steps before the steady state do not count. Seconds waited
for data are those of the training process: a GPU that still has work queued does not idle meanwhile, so they bound its idleness
from above. Prints JSON and saves it; from the rates follows how many hours the paper's whole recipe would take. Options make
everything smaller; `--stages` names what to measure.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import torch
import yaml
from torch.utils.data import Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the project is not installed

from benchmarks.measuring import copy_rate, processor, product_rate, synchronised
from benchmarks.speed_corpus import Size, corpus_in
from benchmarks.step_parts import many_gpus, parts_of_pretraining
from pipeline.audio.augment import Augmenter, Planner
from pipeline.audio.banks import load_bank
from pipeline.audio.crops import ClusterPartners
from pipeline.audio.features import LogMel
from pipeline.clustering.kmeans import centred_unit, spherical_kmeans
from pipeline.device import keep_freed_memory
from pipeline.losses.loss_gate import refit
from pipeline.models.ecapa import untrained
from pipeline.models.resnet34 import untrained_face_encoder
from pipeline.scoring.cosine import cosine_scores, unit_length
from pipeline.scoring.snorm import cohort_statistics, normalised_scores
from pipeline.settings.experiment import Experiment, resolve
from pipeline.training.audio_visual import AudioVisualTraining, Branches
from pipeline.training.batches import FeatureExtractor, PretrainCrops, TrainCrops, Visit, loaded, visits
from pipeline.training.branch import Branch
from pipeline.training.compilation import KERNELS
from pipeline.training.extraction import extract_embeddings
from pipeline.training.face_batches import AudioVisualCrops
from pipeline.training.gated import GatedTraining
from pipeline.training.loop import Method
from pipeline.training.pretraining import Pretraining
from pipeline.training.runtime import Runtime
from pipeline.vision.augment import FaceInput

REPOSITORY = Path(__file__).resolve().parents[1]
VOXCELEB2 = 1_091_251  # utterances
VOXCELEB2_SECONDS = 265e9 / 2 / 16_000
TESTED, TRIALS = 145_160, 581_480  # utterances and trials of Vox1-E
WARM_UP = 8  # steps that do not count: compilation, the allocator, the workers' head start
STAGES = ("loader", "pretrain", "round", "audio_visual", "first_step", "parts", "many_gpus", "extract", "kmeans", "gate", "snorm")
EPOCH_WITH_GATE = 50  # in the midst of a round
Figures = dict[str, Any]

SMALL = {
    "utterances": 400,
    "noise_minutes": 1.0,
    "rooms": 12,
    "channels": 32,
    "mfa_channels": 48,
    "prototypes": 512,
    "face_width": 4,
    "face_side": 64,
    "batch_size": 16,
    "embeddings": 20_000,
    "tested": 2_000,
    "trials": 20_000,
    "clusters": [100],
    "budget": 4.0,
    "workers": 1,
}


class Bench(NamedTuple):
    """What the stages share."""

    args: argparse.Namespace
    experiment: Experiment
    runtime: Runtime
    crops: PretrainCrops
    segments: TrainCrops
    faces: AudioVisualCrops
    features: FeatureExtractor
    labels: np.ndarray


def main() -> None:
    """Measure the stages, print and save what they took."""
    args = arguments()
    bench = opened(args)
    if args.only_first_step:
        print(json.dumps(first_step(bench)))
        return
    outcome: Figures = {"machine": machine(bench), "sizes": sizes(args), "stages": {}}
    for name in args.stages:
        outcome["stages"][name] = MEASURES[name](bench)
        print(json.dumps({name: outcome["stages"][name]}), file=sys.stderr, flush=True)
        outcome["paper_recipe_hours"] = projected(outcome["stages"])
        args.save.write_text(json.dumps(outcome, indent=2) + "\n")
    print(args.save.read_text(), end="")


def arguments() -> argparse.Namespace:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--into", type=Path, required=True, help="a folder for the corpus and the compiled kernels")
    made.add_argument("--save", type=Path, default=REPOSITORY / "benchmarks" / "training_speed.json")
    made.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), metavar="STAGE", help=", ".join(STAGES))
    made.add_argument("--small", action="store_true", help="other defaults for all sizes")
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    made.add_argument("--threads", type=int, default=min(8, os.cpu_count() or 1))
    made.add_argument("--precision", choices=["float32", "bfloat16"], help="default: bfloat16 on a GPU")
    made.add_argument("--compile", type=int, choices=[0, 1], help="default: on a GPU")
    made.add_argument("--budget", type=float, default=60.0, help="seconds of steady state per stage")
    made.add_argument("--batch-size", type=int, default=256)
    made.add_argument("--workers", type=int, default=7, help="with the training process: 8 cores")
    made.add_argument("--utterances", type=int, default=40_000)
    made.add_argument("--seconds", type=float, default=8.0, help="of an utterance")
    made.add_argument("--noise-minutes", type=float, default=60.0)
    made.add_argument("--rooms", type=int, default=300)
    for name, value in (("channels", 512), ("mfa-channels", 1536), ("prototypes", 65_536), ("face-width", 32), ("face-side", 224)):
        made.add_argument(f"--{name}", type=int, default=value)
    for name, value in (("embeddings", VOXCELEB2), ("tested", TESTED), ("trials", TRIALS)):
        made.add_argument(f"--{name}", type=int, default=value)
    made.add_argument("--clusters", type=int, nargs="+", default=[7_500, 10_000], help="of k-means; the first: classes of a round")
    made.add_argument("--link", type=float, default=450.0, help="between GPUs, one way, GB/s")
    made.add_argument("--latency", type=float, default=20.0, help="of one message between GPUs, microseconds; assumed, not measured")
    made.add_argument("--only-first-step", action="store_true", help=argparse.SUPPRESS)
    if "--small" in sys.argv:
        made.set_defaults(**SMALL)
    return made.parse_args()


def opened(args: argparse.Namespace) -> Bench:
    """The corpus, and what the training scripts open of it."""
    torch.set_num_threads(args.threads)
    if args.device == "cpu":
        keep_freed_memory()
    os.environ.setdefault(KERNELS, str(args.into.absolute() / "compiled"))
    experiment = experiment_of(args)
    corpus = corpus_in(args.into, Size(args.utterances, args.seconds, args.noise_minutes, args.rooms), args.threads)
    voices, noise, rirs = corpus.opened(), load_bank(corpus.noise), load_bank(corpus.rirs)
    runtime = runtime_of(args)
    planner = Planner(experiment.augmentation, noise.kind.numpy(), len(rirs))
    segments = TrainCrops(voices, planner, experiment.train.crop_seconds, 1, 1)
    return Bench(
        args,
        experiment,
        runtime,
        PretrainCrops(voices, planner, experiment.pretrain.crops, 1, None),
        segments,
        AudioVisualCrops(segments, corpus.opened_faces(voices), experiment.faces.augmentation, 1, 1),
        FeatureExtractor(Augmenter(noise, rirs, runtime.device), LogMel(experiment.features), runtime.device),
        np.random.default_rng(1).permutation(np.arange(len(voices)) % min(args.clusters[0], len(voices) // 2)),
    )


def experiment_of(args: argparse.Namespace) -> Experiment:
    """The default configuration, at the sizes asked for."""
    config = yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))
    config["encoder"] |= {"channels": args.channels, "mfa_channels": args.mfa_channels}
    config["pretrain"]["head"] |= {"prototypes": args.prototypes}
    config["faces"]["encoder"] |= {"width": args.face_width, "input_side": args.face_side}
    for stage in ("pretrain", "train"):
        config[stage]["batch_size"] = args.batch_size
    return resolve(config)


def runtime_of(args: argparse.Namespace) -> Runtime:
    """As the workflow sets it, but compiled on the CPU, too, where that is asked for."""
    device = torch.device(args.device)
    on_gpu = device.type == "cuda"
    bfloat16 = on_gpu if args.precision is None else args.precision == "bfloat16"
    return Runtime(device, args.workers, bfloat16, on_gpu if args.compile is None else bool(args.compile), 600.0)


def machine(bench: Bench) -> Figures:
    """What it ran on, and how fast that is at the two things that bound a step from below."""
    device, dtype = bench.runtime.device, torch.bfloat16 if bench.runtime.bfloat16 else torch.float32
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else processor(),
        "cores": os.cpu_count(),
        "threads": bench.args.threads,
        "workers": bench.args.workers,
        "load": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "faiss": f"{faiss.__version__}, {faiss.get_num_gpus()} GPUs",
        "precision": str(dtype).removeprefix("torch."),
        "compiled": bench.runtime.compile,
        "date": date.today().isoformat(),
        "matrix_product_flop_per_second": product_rate(device, dtype),
        "copy_bytes_per_second": copy_rate(device),
    }


def sizes(args: argparse.Namespace) -> Figures:
    """The options that say how large everything was."""
    return {name: value for name, value in vars(args).items() if name not in ("into", "save", "stages", "only_first_step")}


# Trainings, as their scripts make them --------------------------------------------------------------------------------


def pretraining(bench: Bench) -> Pretraining:
    """CA-DINO."""
    settings, encoder = bench.experiment.pretrain, bench.experiment.encoder
    network = untrained(encoder, bench.experiment.features.mel_bins, 1, 0)
    return Pretraining(settings, network, encoder.embedding, 1, bench.runtime, bench.features, lambda _: bench.crops, _no_extraction)


def _no_extraction(_: torch.nn.Module) -> np.ndarray:
    raise AssertionError("no epoch that is measured clusters")


def branch(bench: Bench, modality: str, encoder: torch.nn.Module, embedding: int, *, several: bool) -> Branch:
    """One modality of a round, whose gate is closed as in most of its epochs."""
    everyone = np.ones(len(bench.labels), bool)
    classes = int(bench.labels.max()) + 1
    made = Branch(modality, bench.experiment.train, encoder, embedding, classes, everyone, 1, bench.runtime, several=several)
    made._threshold = 1.0
    return made


def voice_branch(bench: Bench, *, several: bool) -> Branch:
    """The voice's."""
    settings = bench.experiment.encoder
    return branch(bench, "audio", untrained(settings, bench.experiment.features.mel_bins, 1, 1), settings.embedding, several=several)


def gated(bench: Bench) -> GatedTraining:
    """DLG-LC on voices."""
    labels = torch.from_numpy(bench.labels)
    return GatedTraining(bench.experiment.train, voice_branch(bench, several=False), labels, 1, 1, bench.features, bench.segments)


def audio_visual(bench: Bench) -> AudioVisualTraining:
    """DLG-LC on voices and faces."""
    settings, labels = bench.experiment.faces.encoder, torch.from_numpy(bench.labels)
    face = branch(bench, "face", untrained_face_encoder(settings, 1, 1), settings.embedding, several=True)
    branches = Branches(voice_branch(bench, several=True), face)
    face_input = FaceInput(settings.input_side, bench.runtime.device)
    return AudioVisualTraining(bench.experiment.train, branches, labels, 1, 1, bench.features, face_input, bench.faces)


def planned(bench: Bench, epoch: int, epochs: int = 1000) -> Iterator[Visit]:
    """The batches of many epochs on end, so that the workers never start anew."""
    for number in range(epoch, epoch + epochs):
        yield from visits(1, 0, number, len(bench.labels), bench.args.batch_size)


class Endless:
    """A sampler of as many visits as are asked for."""

    def __init__(self, bench: Bench, epoch: int):
        self._bench, self._epoch = bench, epoch

    def __iter__(self) -> Iterator[Visit]:
        return planned(self._bench, self._epoch)


# Stages ---------------------------------------------------------------------------------------------------------------


def steady(bench: Bench, method: Method, epoch: int) -> Figures:
    """A training's rate after its first steps, the time of the first, and the share of time that it waits for data."""
    reset_memory(bench)
    start = time.perf_counter()
    batches = loaded(method.begin_epoch(epoch), Endless(bench, epoch), bench.runtime.workers, bench.runtime.device.type == "cuda")
    batch = next(batches)
    first_batch = time.perf_counter() - start
    first = taken(bench, lambda: method.step(batch, float(epoch)))
    for _ in range(WARM_UP):
        method.step(next(batches), float(epoch))
    synchronised(bench.runtime.device)
    seconds, waited, steps, seen = counted(bench, method, batches, epoch)
    return {
        "utterances_per_second": round(seen / seconds, 1),
        "step_seconds": round(seconds / steps, 4),
        "data_wait_share": round(waited / seconds, 4),
        "steps": steps,
        "first_step_seconds": round(first, 2),
        "first_batch_seconds": round(first_batch, 2),
        "peak_megabytes": peak_megabytes(bench),
        "finite": method.is_finite(),
    }


def counted(bench: Bench, method: Method, batches: Iterator[Any], epoch: int) -> tuple[float, float, int, int]:
    """Seconds, seconds waited for data, steps and utterances until the budget is spent and the device is done."""
    start, waited, steps, seen = time.perf_counter(), 0.0, 0, 0
    while time.perf_counter() - start < bench.args.budget:
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        method.step(batch, float(epoch))
        steps, seen = steps + 1, seen + len(batch.utterances)
    synchronised(bench.runtime.device)
    return time.perf_counter() - start, waited, steps, seen


def taken(bench: Bench, work: Callable[[], object]) -> float:
    """Seconds until the device is done with `work`."""
    synchronised(bench.runtime.device)
    start = time.perf_counter()
    work()
    synchronised(bench.runtime.device)
    return time.perf_counter() - start


def reset_memory(bench: Bench) -> None:
    """Begin to count the device's memory anew."""
    if bench.runtime.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_megabytes(bench: Bench) -> int:
    """Of the device since `reset_memory`; on the CPU of the process since its start."""
    on_gpu = bench.runtime.device.type == "cuda"
    return round((torch.cuda.max_memory_allocated() if on_gpu else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1e6)


def loader(bench: Bench) -> Figures:
    """What data workers give, without a training: each kind of batch by one core, and by all workers."""
    partners = ClusterPartners(bench.labels)
    aware = PretrainCrops(bench.crops._corpus, bench.crops._planner, bench.experiment.pretrain.crops, 1, partners)
    kinds = {"pretrain": bench.crops, "cluster_aware": aware, "round": bench.segments, "audio_visual": bench.faces}
    return {name: loaded_alone(bench, dataset) for name, dataset in kinds.items()}


def loaded_alone(bench: Bench, dataset: Dataset) -> Figures:
    """Both figures of one kind of batch."""
    rate = by_one_core(bench, dataset)
    return {"utterances_per_second_of_one_core": round(rate), **by_workers(bench, dataset, rate)}


def by_one_core(bench: Bench, dataset: Dataset) -> float:
    """Utterances per second of batches made in this process: by its own time, so that other work on the machine does not count."""
    batches = planned(bench, 0)
    dataset[next(batches)]
    start, seen = time.process_time(), 0
    while time.process_time() - start < bench.args.budget / 8:
        seen += len(dataset[next(batches)].utterances)
    return seen / (time.process_time() - start)


def by_workers(bench: Bench, dataset: Dataset, rate: float) -> Figures:
    """Batches as a training gets them; the workers' time includes their start, the queue, and copies into shared memory.

    Args:
        rate: utterances per second that one worker may be expected to give.
    """
    workers, before = bench.runtime.workers, children_seconds()
    steps = max(4 * workers, round(rate * max(1, workers) * bench.args.budget / 8 / bench.args.batch_size))
    batches = loaded(dataset, list(islice(planned(bench, 0), steps)), workers, bench.runtime.device.type == "cuda")
    next(batches)
    start, own = time.perf_counter(), time.process_time()
    seen = sum(len(batch.utterances) for batch in batches)
    seconds, own = time.perf_counter() - start, time.process_time() - own
    del batches  # waits for the workers' end, so that their time is known
    spent = children_seconds() - before
    return {
        "workers": workers,
        "utterances_per_second": round(seen / seconds),
        "utterances_per_second_of_worker_time": round((seen + bench.args.batch_size) / spent) if workers else None,
        "training_process_share_of_a_core": round(own / seconds, 3),
    }


def children_seconds() -> float:
    """Processor time of processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def first_steps(bench: Bench) -> Figures:
    """The first step of pretraining in a process of its own, without compiled kernels at hand and with those of the run before."""
    command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--only-first-step"]
    with tempfile.TemporaryDirectory(dir=bench.args.into) as kernels:
        runs = [subprocess.run(command, env={**os.environ, KERNELS: kernels}, stdout=subprocess.PIPE, check=True) for _ in range(2)]
    cold, warm = (json.loads(run.stdout) for run in runs)
    return {"cold": cold, "with_kernels_of_an_earlier_job": warm}


def first_step(bench: Bench) -> Figures:
    """Seconds of the first steps of this process."""
    method = pretraining(bench)
    dataset = method.begin_epoch(0)
    batch = dataset[next(planned(bench, 0))]
    return {
        "first": round(taken(bench, lambda: method.step(batch, 0.0)), 2),
        "second": round(taken(bench, lambda: method.step(batch, 0.0)), 2),
    }


def extraction(bench: Bench) -> Figures:
    """Whole utterances, as many as the budget allows."""
    encoder = bench.runtime.prepared(untrained(bench.experiment.encoder, bench.experiment.features.mel_bins, 1, 1))
    log_mel, voices = LogMel(bench.experiment.features), bench.crops._corpus

    def seconds_of(count: int) -> float:
        part = voices.only(np.arange(len(voices)) < count)
        return taken(bench, lambda: extract_embeddings(encoder, log_mel, part, bench.runtime))

    few = min(len(voices), 64 if bench.args.small else 2048)
    first, again = seconds_of(few), seconds_of(few)
    reset_memory(bench)
    many = min(len(voices), max(few, int(few * bench.args.budget / again)))
    seconds = seconds_of(many)
    return {
        "times_real_time": round(many * bench.args.seconds / seconds),
        "utterances": many,
        "seconds": round(seconds, 2),
        "first_seconds_more": round(first - again, 2),
        "peak_megabytes": peak_megabytes(bench),
    }


def made_up_embeddings(count: int) -> np.ndarray:
    """[count, 192] float32 of some thousand voices."""
    rng = np.random.default_rng(1)
    voices = rng.standard_normal((6_000, 192), dtype=np.float32)
    return voices[rng.integers(len(voices), size=count)] + 1.7 * rng.standard_normal((count, 192), dtype=np.float32)


def clusterings(bench: Bench) -> Figures:
    """k-means as the stage `cluster` calls it."""
    faiss.omp_set_num_threads(bench.args.threads)
    unit, settings = centred_unit(made_up_embeddings(bench.args.embeddings), subtract_mean=False), bench.experiment.cluster
    effort = {"iterations": settings.iterations, "points_per_cluster": settings.points_per_cluster, "restarts": settings.restarts}
    seconds = {}
    for clusters in bench.args.clusters:
        start = time.perf_counter()
        spherical_kmeans(unit, clusters, **effort, seed=1)
        seconds[f"seconds_{clusters}"] = round(time.perf_counter() - start, 2)
    return {**seconds, "iterations": settings.iterations, "embeddings": len(unit), "gpus_of_faiss": faiss.get_num_gpus()}


def gate(bench: Bench) -> Figures:
    """One fit of the mixture to all utterances' losses, on the CPU."""
    rng, count = np.random.default_rng(1), bench.args.embeddings
    wrong = rng.random(count) < 0.25
    losses = np.exp(np.where(wrong, rng.normal(1.8, 0.4, count), rng.normal(-1.5, 0.9, count))).astype(np.float32)
    start = time.perf_counter()
    refit(losses, None, 1)
    return {"seconds": round(time.perf_counter() - start, 2), "losses": count}


def snorm(bench: Bench) -> Figures:
    """Cosine and adaptive s-norm of a list, without reading and writing, on the CPU."""
    args, rng = bench.args, np.random.default_rng(2)
    tested, cohort = unit_length(made_up_embeddings(args.tested), None), unit_length(made_up_embeddings(args.clusters[0]), None)
    enroll, test = rng.integers(args.tested, size=(2, args.trials))
    start = time.perf_counter()
    cosine = cosine_scores(tested, enroll, test)
    normalised_scores(cosine, enroll, test, *cohort_statistics(tested, cohort, bench.experiment.score.cohort_top))
    return {"seconds": round(time.perf_counter() - start, 2), "trials": args.trials, "utterances": args.tested, "cohort": args.clusters[0]}


MEASURES: dict[str, Callable[[Bench], Figures]] = {
    "loader": loader,
    "pretrain": lambda bench: steady(bench, pretraining(bench), 5),  # beyond the epoch in which the head's last layer stands still
    "round": lambda bench: steady(bench, gated(bench), EPOCH_WITH_GATE),
    "audio_visual": lambda bench: steady(bench, audio_visual(bench), EPOCH_WITH_GATE),
    "first_step": first_steps,
    "parts": lambda bench: parts_of_pretraining(bench.experiment, bench.runtime, bench.features, bench.crops, bench.args.batch_size),
    "many_gpus": lambda bench: many_gpus(
        bench.experiment, bench.runtime, bench.features, bench.crops, bench.args.batch_size, bench.args.link, bench.args.latency
    ),
    "extract": extraction,
    "kmeans": clusterings,
    "gate": gate,
    "snorm": snorm,
}


# The paper's recipe ---------------------------------------------------------------------------------------------------


def projected(stages: dict[str, Figures]) -> Figures | None:
    """Hours of the paper's audio recipe on VoxCeleb2 at the measured rates, one device; None until all of them are measured.

    150 epochs of CA-DINO with a clustering every fifth epoch from the 90th on, three rounds of 100 epochs each, the training
    corpus extracted and clustered before each and after the last. Packing and the test corpora are not in it.
    """
    if not {"pretrain", "round", "extract", "kmeans", "gate"} <= stages.keys():
        return None
    extract = VOXCELEB2_SECONDS / stages["extract"]["times_real_time"]
    clustering = max(value for name, value in stages["kmeans"].items() if name.startswith("seconds_"))
    clusterings_inside, rounds = len(range(90, 150, 5)), 3
    hours = {
        "pretraining": 150 * VOXCELEB2 / stages["pretrain"]["utterances_per_second"],
        "clusterings_of_pretraining": clusterings_inside * (extract + clustering),
        "rounds": rounds * 100 * (VOXCELEB2 / stages["round"]["utterances_per_second"] + stages["gate"]["seconds"]),
        "extraction_and_clustering_between": (rounds + 1) * (extract + clustering),
    }
    return {**{name: round(seconds / 3600, 2) for name, seconds in hours.items()}, "total": round(sum(hours.values()) / 3600, 2)}


if __name__ == "__main__":
    main()
