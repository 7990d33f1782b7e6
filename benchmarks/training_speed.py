"""How fast everything that takes hours is: pretraining, rounds, extraction, clustering, and what feeds them.

    python benchmarks/training_speed.py --into FOLDER               # a GPU: the paper's sizes, 10 GB
    python benchmarks/training_speed.py --into FOLDER --small       # to see on a CPU whether it runs

A made-up corpus is packed into FOLDER with the stages' own functions; trainings then run as their scripts run them, from the
files to the update of the weights, with data workers reading ahead. Steps before the steady state do not count. Seconds waited
for data are those of the training process: a GPU that still has work queued does not idle meanwhile, so they bound its idleness
from above. Prints JSON and saves it after each stage; from the rates follows how many hours the paper's whole recipe would take.
Options make everything smaller; `--stages` names what to measure, and `--add` keeps what earlier calls have saved. A stage that fails
is saved with its error, the others go on, and the exit status is 1.
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
from itertools import islice
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from torch.utils.data import Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the project is not installed

from benchmarks.agglomerative_speed import groups as centroids
from benchmarks.measuring import synchronised
from benchmarks.speed_trainings import (
    Bench,
    Endless,
    Figures,
    attempted,
    audio_visual,
    forget_graphs,
    gated,
    graphs,
    machine,
    opened,
    parser,
    planned,
    pretraining,
    sizes,
    tuning,
    with_sizes,
)
from benchmarks.step_parts import candidates, kernels, kernels_of, many_gpus, parts_of_pretraining
from benchmarks.systems_speed import objectives
from selfsv.clustering.agglomerative import agglomerate
from selfsv.clustering.kmeans import spherical_kmeans
from selfsv.clustering.preparation import centred_unit
from selfsv.data.batches import ClusterPartners, PretrainCrops, TrainCrops, loaded
from selfsv.data.face_batches import AudioVisualCrops
from selfsv.data.features import LogMel
from selfsv.engine.compilation import KERNELS
from selfsv.engine.extraction import extract_embeddings
from selfsv.engine.method import Method
from selfsv.losses.loss_gate import refit
from selfsv.models.encoders import untrained
from selfsv.scoring.cosine import cosine_scores, unit_length
from selfsv.scoring.snorm import cohort_statistics, normalised_scores

VOXCELEB2 = 1_091_251  # utterances
VOXCELEB2_SECONDS = 265e9 / 2 / 16_000
# Trials and utterances are those of Vox1-E.
PAPER = {"embeddings": VOXCELEB2, "tested": 145_160, "trials": 581_480, "clusters": [7_500, 10_000], "centroids": 50_000}
LITTLE = {"embeddings": 20_000, "tested": 2_000, "trials": 20_000, "clusters": [400], "centroids": 500}
WARM_UP = 8  # steps that do not count: compilation, the allocator, the workers' head start
EPOCH_WITH_GATE = 50  # in the midst of a round
FEW = {True: 64, False: 2048}  # utterances that are extracted to begin with, at small sizes and at full ones


def main() -> None:
    """Measure the stages, print and save what they took."""
    args = arguments()
    bench = opened(args)
    if args.only_first_step:
        print(json.dumps(first_step(bench)))
        return
    known = json.loads(args.save.read_text())["stages"] if args.add else {}
    outcome: Figures = {"machine": machine(bench), "sizes": sizes(args), "stages": known}
    for name in args.stages:
        outcome["stages"][name] = attempted(lambda measure=MEASURES[name]: measure(bench))
        print(json.dumps({name: outcome["stages"][name]}), file=sys.stderr, flush=True)
        outcome["paper_recipe_hours"] = projected(outcome["stages"])
        args.save.write_text(json.dumps(outcome, indent=2) + "\n")
    print(args.save.read_text(), end="")
    sys.exit(int(failed(outcome["stages"])))


def failed(figures: object) -> bool:
    """Whether an error, or a figure that is not finite, is among the figures."""
    return isinstance(figures, dict) and ("error" in figures or figures.get("finite") is False or any(map(failed, figures.values())))


def arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__, "training_speed.json")
    made.add_argument("--stages", nargs="+", choices=MEASURES, default=list(MEASURES), metavar="STAGE", help=", ".join(MEASURES))
    made.add_argument("--add", action="store_true", help="to the stages that an earlier call has saved")
    made.add_argument("--budget", type=float, help="seconds of steady state per stage")
    for name in ("embeddings", "tested", "trials"):
        made.add_argument(f"--{name}", type=int)
    made.add_argument("--centroids", type=int, help="of agglomerative clustering")
    made.add_argument("--clusters", type=int, nargs="+", help="of k-means; the first: the cohort of the s-norm")
    made.add_argument("--trainings", nargs="+", choices=TRAININGS, default=list(TRAININGS), help="of the stage two_steps")
    made.add_argument("--link", type=float, default=450.0, help="between GPUs, one way, GB/s")
    made.add_argument("--latency", type=float, default=20.0, help="of one message between GPUs, microseconds; assumed, not measured")
    made.add_argument("--only-first-step", action="store_true", help=argparse.SUPPRESS)
    return with_sizes(made, {"budget": 30.0, **PAPER}, {"budget": 4.0, **LITTLE})


# Stages ---------------------------------------------------------------------------------------------------------------


def two_steps(bench: Bench) -> Figures:
    """Two updates of every training at its full size, each by itself: whether it runs at all, before anything is timed."""
    return {name: attempted(lambda name=name: two_steps_of(bench, *TRAININGS[name])) for name in bench.args.trainings}


def two_steps_of(bench: Bench, make: Callable[[Bench], Any], epoch: int) -> Figures:
    """Of one training."""
    forget_graphs()  # and the training before this one
    reset_memory(bench)
    method = make(bench)
    dataset = method.begin_epoch(epoch)
    first, second = (dataset[indices] for indices in islice(planned(bench, epoch), 2))
    seconds = [round(taken(bench, lambda batch=batch: method.step(batch, float(epoch))), 3) for batch in (first, second)]
    return {"step_seconds": seconds, "peak_megabytes": peak_megabytes(bench), "graphs_compiled": graphs(), "finite": method.is_finite()}


def steady(bench: Bench, method: Method, epoch: int) -> Figures:
    """A training's rate after its first steps, the time of the first, and the share of time that it waits for data."""
    reset_memory(bench)
    start = time.perf_counter()
    batches = loaded(method.begin_epoch(epoch), Endless(bench, epoch), bench.runtime.workers, bench.runtime.device)
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
        "graphs_compiled": graphs(),
        "first_batch_seconds": round(first_batch, 2),
        "peak_megabytes": peak_megabytes(bench),
        "finite": method.is_finite(),
    }


def of_training(bench: Bench, name: str) -> Figures:
    """The rate of one of `TRAININGS`."""
    make, epoch = TRAININGS[name]
    return steady(bench, make(bench), epoch)


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
    experiment, corpus, sampler = bench.experiment, bench.inputs.corpus, bench.inputs.sampler
    plain, aware = (
        PretrainCrops(corpus, sampler, experiment.pretrain.crops, 1, partners) for partners in (None, ClusterPartners(bench.labels))
    )
    segments = TrainCrops(corpus, sampler, experiment.train.crop_seconds, 1, 1)
    faces = AudioVisualCrops(segments, bench.faces, experiment.faces.augmentation, 1, 1)
    kinds = {"pretrain": plain, "cluster_aware": aware, "round": segments, "audio_visual": faces}
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
    batches = loaded(dataset, list(islice(planned(bench, 0), steps)), workers, bench.runtime.device)
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
    forget_graphs()
    encoder = bench.runtime.extracting(untrained(bench.experiment.encoder, bench.experiment.features.mel_bins, 1, 1))
    log_mel, voices = bench.runtime.with_kernels(LogMel(bench.experiment.features)), bench.inputs.corpus

    def seconds_of(count: int) -> float:
        part = voices.only(np.arange(len(voices)) < count)
        return taken(bench, lambda: extract_embeddings(encoder, log_mel, part, bench.runtime))

    few = min(len(voices), FEW[bench.args.small])
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


def kernels_of_round(bench: Bench, make: Callable[[Bench], Any] = gated) -> Figures:
    """Profile a step of a round on a batch that is loaded already."""
    method = make(bench)
    dataset = method.begin_epoch(EPOCH_WITH_GATE)
    batch = dataset[next(planned(bench, EPOCH_WITH_GATE))]
    return kernels_of(lambda: method.step(batch, float(EPOCH_WITH_GATE)), bench.runtime.device)


def kernels_of_extraction(bench: Bench) -> Figures:
    """Profile the extraction of some utterances, reading included."""
    forget_graphs()
    encoder = bench.runtime.extracting(untrained(bench.experiment.encoder, bench.experiment.features.mel_bins, 1, 1))
    log_mel, voices = bench.runtime.with_kernels(LogMel(bench.experiment.features)), bench.inputs.corpus
    part = voices.only(np.arange(len(voices)) < FEW[bench.args.small])
    return kernels_of(lambda: extract_embeddings(encoder, log_mel, part, bench.runtime), bench.runtime.device)


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


def hierarchies(bench: Bench) -> Figures:
    """Agglomerative clustering of centroids, as the stage `cluster` calls it."""
    points = centroids(bench.args.centroids).to(bench.runtime.device)
    weights, seconds = torch.ones(len(points), device=points.device), {}
    for linkage in ("ward", "average"):
        start = time.perf_counter()
        agglomerate(points, weights, linkage)
        seconds[f"seconds_{linkage}"] = round(time.perf_counter() - start, 2)
    return {**seconds, "centroids": len(points)}


def gate(bench: Bench) -> Figures:
    """One fit of the mixture to all utterances' losses, on the CPU."""
    rng, count = np.random.default_rng(1), bench.args.embeddings
    wrong = rng.random(count) < 0.25
    losses = np.exp(np.where(wrong, rng.normal(1.8, 0.4, count), rng.normal(-1.5, 0.9, count))).astype(np.float32)
    start = time.perf_counter()
    refit(losses, None)
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


TRAININGS: dict[str, tuple[Callable[[Bench], Any], int]] = {  # how each is made, and the epoch that is looked at
    "pretrain": (pretraining, 5),  # beyond the epoch in which the head's last layer stands still
    "round": (gated, EPOCH_WITH_GATE),
    "audio_visual": (audio_visual, EPOCH_WITH_GATE),
    "large_margin": (tuning, 0),
}
MEASURES: dict[str, Callable[[Bench], Figures]] = {
    "two_steps": two_steps,
    "pretrain": lambda bench: of_training(bench, "pretrain"),
    "profile": kernels,
    "profile_round": kernels_of_round,
    "profile_audio_visual": lambda bench: kernels_of_round(bench, audio_visual),
    "profile_extract": kernels_of_extraction,
    "round": lambda bench: of_training(bench, "round"),
    "audio_visual": lambda bench: of_training(bench, "audio_visual"),
    "extract": extraction,
    "parts": parts_of_pretraining,
    "systems": lambda bench: objectives(bench, steady),
    "gate": gate,
    "snorm": snorm,
    "loader": loader,
    "candidates": candidates,
    "many_gpus": lambda bench: many_gpus(bench, bench.args.link, bench.args.latency),
    "first_step": first_steps,
    "kmeans": clusterings,
    "ahc": hierarchies,
}


# The paper's recipe ---------------------------------------------------------------------------------------------------


def projected(stages: dict[str, Figures]) -> Figures | None:
    """Hours of the paper's audio recipe on VoxCeleb2 at the measured rates, one device; None until all of them are measured.

    150 epochs of CA-DINO with a clustering every fifth epoch from the 90th on, three rounds of 100 epochs each, the training
    corpus extracted and clustered before each and after the last. Packing and the test corpora are not in it.
    """
    needed = {"pretrain", "round", "extract", "kmeans", "gate"}
    if not needed <= {name for name, figures in stages.items() if not failed(figures)}:
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
