"""The trainings that the measurements of speed and of precision look at: made as their scripts make them, on a made-up corpus."""

import argparse
import gc
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import faiss
import numpy as np
import torch
from torch._dynamo.utils import counters

from benchmarks.measuring import copy_rate, product_rate, versions
from benchmarks.speed_corpus import Size, corpus_in
from selfsv.data.augment import AugmentationSampler, Augmenter
from selfsv.data.banks import load_bank
from selfsv.data.batches import BatchIndices, FeatureExtractor, epoch_batches
from selfsv.data.faces import PackedFaces
from selfsv.data.features import LogMel
from selfsv.device import keep_freed_memory
from selfsv.engine.compilation import KERNELS
from selfsv.engine.runtime import Runtime
from selfsv.losses.classifiers import fresh_classifier
from selfsv.methods.audio_visual import AudioVisualDlgLc
from selfsv.methods.dlg_lc import DlgLc
from selfsv.methods.finetuning import LARGE_MARGIN, Tuning
from selfsv.methods.inputs import Inputs
from selfsv.methods.pretraining import Pretraining
from selfsv.models.encoders import untrained
from selfsv.settings.experiment import Experiment, merged, resolve
from selfsv.settings.jobs import CompleteTuneJob, PretrainJob, TrainAvJob, TrainJob
from selfsv.settings.reading import read_file

REPOSITORY = Path(__file__).resolve().parents[1]
Figures = dict[str, Any]

FULL = {
    "utterances": 20_000,
    "noise_minutes": 30.0,
    "rooms": 300,
    "channels": 512,
    "mfa_channels": 1536,
    "prototypes": 65_536,
    "face_width": 32,
    "face_side": 224,
    "batch_size": 256,
    "classes": 7_500,
    "workers": 7,  # with the training process: 8 cores
}
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
    "classes": 100,
    "workers": 1,
}


def parser(description: str | None, save: str) -> argparse.ArgumentParser:
    """The options that all of these measurements have; `with_sizes` parses them."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--into", type=Path, required=True, help="a folder for the corpus and the compiled kernels")
    made.add_argument("--save", type=Path, default=REPOSITORY / "benchmarks" / save)
    made.add_argument("--small", action="store_true", help="other defaults for all sizes")
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    made.add_argument("--threads", type=int, default=min(8, os.cpu_count() or 1))
    made.add_argument("--precision", choices=["float32", "bfloat16"], help="default: bfloat16 on a GPU")
    made.add_argument("--compile", type=int, choices=[0, 1], help="default: on a GPU")
    made.add_argument("--dilations", type=int, nargs="+", default=[2, 3, 4], help="of the encoder's blocks")
    made.add_argument("--seconds", type=float, default=8.0, help="of an utterance")
    for name, value in FULL.items():
        made.add_argument(f"--{name.replace('_', '-')}", type=type(value))
    return made


def with_sizes(made: argparse.ArgumentParser, full: Figures, small: Figures) -> argparse.Namespace:
    """The command line, with the sizes that it does not name."""
    made.set_defaults(**({**SMALL, **small} if "--small" in sys.argv else {**FULL, **full}))
    return made.parse_args()


def attempted(measure: Callable[[], Figures]) -> Figures:
    """What `measure` finds, or how it failed: whatever that is, the other measurements must not be lost."""
    try:
        return measure()
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:500]}


class Bench(NamedTuple):
    """What the measurements share."""

    args: argparse.Namespace
    experiment: Experiment
    runtime: Runtime
    inputs: Inputs
    faces: PackedFaces
    labels: np.ndarray


def opened(args: argparse.Namespace, changes: dict[str, Any] | None = None) -> Bench:
    """The corpus, and what the training scripts open of it.

    Args:
        changes: to the default configuration, as in an overlay.
    """
    torch.set_num_threads(args.threads)
    if args.device == "cpu":
        keep_freed_memory()
    os.environ.setdefault(KERNELS, str(args.into.absolute() / "compiled"))
    experiment = experiment_of(args, changes or {})
    corpus = corpus_in(args.into, Size(args.utterances, args.seconds, args.noise_minutes, args.rooms))
    voices, noise, rirs = corpus.opened(), load_bank(corpus.noise), load_bank(corpus.rirs)
    runtime = runtime_of(args)
    sampler = AugmentationSampler(experiment.augmentation, noise.kind.numpy(), len(rirs))
    features = FeatureExtractor(Augmenter(noise, rirs, runtime.device), runtime.with_kernels(LogMel(experiment.features)), runtime.device)
    labels = np.random.default_rng(1).permutation(np.arange(len(voices)) % min(args.classes, len(voices)))
    return Bench(args, experiment, runtime, Inputs(voices, sampler, features), corpus.opened_faces(voices), labels)


def adapted(bench: Bench, changes: dict[str, Any]) -> Bench:
    """The same measurements of another configuration."""
    return opened(bench.args, changes)


def experiment_of(args: argparse.Namespace, changes: dict[str, Any]) -> Experiment:
    """The default configuration at the sizes asked for, with changes; of what is small nothing is left as the changes have it."""
    batches = {"batch_size": args.batch_size}
    sizes = {
        "encoder": {"channels": args.channels, "mfa_channels": args.mfa_channels, "dilations": args.dilations},
        "pretrain": {"head": {"prototypes": args.prototypes}, "cluster_aware": {"clusters": min(args.classes, args.utterances)}, **batches},
        "train": batches,
        "faces": {"encoder": {"width": args.face_width, "input_side": args.face_side}},
    }
    config = merged(read_file(REPOSITORY / "config.yaml"), sizes)
    return resolve(merged(merged(config, changes), sizes if args.small else {}))


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
        **versions(device),
        "threads": bench.args.threads,
        "workers": bench.args.workers,
        "load": round(os.getloadavg()[0], 1),
        "faiss": f"{faiss.__version__}, {faiss.get_num_gpus()} GPUs",
        "precision": str(dtype).removeprefix("torch."),
        "compiled": bench.runtime.compile,
        "matrix_product_flop_per_second": product_rate(device, dtype),
        "copy_bytes_per_second": copy_rate(device),
    }


def sizes(args: argparse.Namespace) -> Figures:
    """The options that say how large everything was."""
    return {name: value for name, value in vars(args).items() if name not in ("into", "save", "stages", "add", "only_first_step")}


# Trainings, as their scripts make them --------------------------------------------------------------------------------


def pretraining(bench: Bench) -> Pretraining:
    """Stage I, by the objective that the configuration names."""
    forget_graphs()
    return Pretraining(PretrainJob.of(bench.experiment), bench.inputs, bench.runtime)


def forget_graphs() -> None:
    """A job makes one training. Several in one process would meet torch's limit of graphs for one function, and run uncompiled."""
    torch._dynamo.reset()
    counters.clear()
    gc.collect()  # a compiled module and its forward hold each other


def graphs() -> int:
    """Compiled since then."""
    return int(counters["stats"]["unique_graphs"])


def gated(bench: Bench) -> DlgLc:
    """DLG-LC on voices."""
    forget_graphs()
    return _with_closed_gates(DlgLc(TrainJob.of(bench.experiment), bench.inputs, torch.from_numpy(bench.labels), 1, bench.runtime))


def audio_visual(bench: Bench) -> AudioVisualDlgLc:
    """DLG-LC on voices and faces."""
    forget_graphs()
    job, labels = TrainAvJob.of(bench.experiment), torch.from_numpy(bench.labels)
    return _with_closed_gates(AudioVisualDlgLc(job, bench.inputs, bench.faces, labels, 1, bench.runtime))


Round = TypeVar("Round", bound=DlgLc)


def _with_closed_gates(training: Round) -> Round:
    """A round whose gates act, as in most of its epochs."""
    for modality in training.modalities:
        modality.gate._threshold = 1.0
    return training


def tuning(bench: Bench) -> Tuning:
    """Fine-tuning with a large margin, on its long segments."""
    forget_graphs()
    job, labels = CompleteTuneJob.with_large_margin(bench.experiment), torch.from_numpy(bench.labels)
    encoder = untrained(job.encoder, job.features.mel_bins, 1, 0)
    classifier = fresh_classifier(job.tune, job.encoder.embedding, int(labels.max()) + 1, 1, LARGE_MARGIN)
    return Tuning("large-margin fine-tuning", job, bench.inputs, encoder, classifier, labels, LARGE_MARGIN, bench.runtime)


def planned(bench: Bench, epoch: int, epochs: int = 1000) -> Iterator[BatchIndices]:
    """The batches of many epochs on end, so that the workers never start anew."""
    for number in range(epoch, epoch + epochs):
        yield from epoch_batches(1, 0, number, len(bench.labels), bench.args.batch_size)


class Endless:
    """A sampler of as many batches as are asked for."""

    def __init__(self, bench: Bench, epoch: int):
        self._bench, self._epoch = bench, epoch

    def __iter__(self) -> Iterator[BatchIndices]:
        return planned(self._bench, self._epoch)
