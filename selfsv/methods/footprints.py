"""What each training of an experiment takes: memory, bytes sent, bytes of its state. Followed at full size on a GPU that is not there."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from selfsv.data.augment import AugmentationSampler, Augmenter
from selfsv.data.banks import NOISE_KINDS, RIR_KINDS, Bank
from selfsv.data.batches import BatchIndices, FeatureExtractor
from selfsv.data.corpus import PackedCorpus
from selfsv.data.faces import PackedFaces
from selfsv.data.features import SAMPLE_RATE, LogMel
from selfsv.engine.extraction import samples_per_batch
from selfsv.engine.fake_gpu import GPU, FakeGpu, fake_gpu, has_kernels
from selfsv.engine.footprint import ACTIVATIONS, PARTS, Footprint, Machines
from selfsv.engine.method import Method
from selfsv.engine.runtime import Runtime
from selfsv.engine.sent import NotedGroup
from selfsv.engine.shared_memory import bytes_of
from selfsv.losses.classifiers import fresh_classifier
from selfsv.methods.audio_visual import AudioVisualDlgLc
from selfsv.methods.dlg_lc import DlgLc
from selfsv.methods.finetuning import LARGE_MARGIN, Tuning
from selfsv.methods.inputs import Inputs
from selfsv.methods.pretraining import Pretraining
from selfsv.models.encoders import build_encoder, untrained
from selfsv.settings.encoder import EncoderSettings
from selfsv.settings.experiment import Experiment, merged, resolve
from selfsv.settings.jobs import CompleteTuneJob, PretrainJob, TrainAvJob, TrainJob
from selfsv.settings.stage_one import stage_one_title
from selfsv.settings.train import LEAST_BATCH

STEPS = 2  # the optimiser takes its memory in the first
FEWEST = 64  # utterances of a corpus whose size is not known: their number hardly matters to memory
SECONDS = 8.0  # of a segment of noise, and of a recording that is extracted


class _Training(NamedTuple):
    """Which one."""

    name: str
    title: str
    times: int
    iteration: int | None  # 0 for stage I, or a round; None: fine-tuning with a large margin
    key: str  # of its section of the settings


@dataclass
class _Corpus:
    """As many utterances as there will be; their samples are zeros."""

    utterances: int

    def __len__(self) -> int:
        return self.utterances

    def crop(self, index: int, position: float, length: int) -> np.ndarray:
        return np.zeros(length, np.int16)


def footprints(experiment: Experiment, machines: Machines, utterances: int | None) -> Iterator[Footprint]:
    """That of every training that differs from those before: stage I, a round, the last round, fine-tuning with a large margin.

    Args:
        utterances: of the training corpus; None: not known.
    """
    count = max(utterances or 0, FEWEST, experiment.pretrain.batch_size, experiment.train.batch_size)
    for training in _trainings(experiment):
        yield _followed(training, experiment, machines, count)


def _trainings(experiment: Experiment) -> Iterator[_Training]:
    if not (experiment.initial_model or experiment.starts_from_ivectors):
        yield _Training("pretrain", stage_one_title(experiment), 1, 0, "pretrain")
    last, faces = experiment.rounds, experiment.modality == "audio_visual"
    name, title = ("audio_visual", "a round, voices and faces") if faces else ("round", "a round")
    differs = int(last > 0 and experiment.encoder_of(last) != experiment.encoder_of(0))
    if last > differs:
        yield _Training(name, title, last - differs, 1, "train")
    if differs:
        yield _Training(name, "the last round", 1, last, "train")
    if experiment.large_margin.enabled:
        yield _Training("large_margin", "large margin", 1, None, "large_margin")


def extraction_memory(experiment: Experiment, iteration: int, *, bfloat16: bool = True) -> int:
    """Bytes of a GPU that the extraction of embeddings takes with the encoder of an iteration."""
    with fake_gpu() as gpu, torch.no_grad(), torch.autocast(GPU.type, torch.bfloat16, enabled=bfloat16):
        encoder = build_encoder(experiment.encoder_of(iteration), experiment.features.mel_bins).to(GPU).eval()
        log_mel = LogMel(experiment.features).to(GPU)
        samples = round(SECONDS * SAMPLE_RATE)
        rows = samples_per_batch(encoder, GPU) // samples
        lengths = torch.full((rows,), samples, device=GPU)
        with torch.autocast(GPU.type, enabled=False):
            features = log_mel(torch.empty(rows, samples, device=GPU), lengths)
        encoder(features, log_mel.frames(lengths))
        return gpu.peak


def _followed(training: _Training, experiment: Experiment, machines: Machines, utterances: int) -> Footprint:
    """Two steps of a training."""
    group = NotedGroup(0, machines.processes)
    with fake_gpu() as gpu, group.noting_norms():
        runtime = Runtime(GPU, 0, machines.bfloat16, machines.kernels and has_kernels(), 600.0, group, graphs=False)
        inputs = _inputs(experiment, utterances)
        method = _method(experiment, training.iteration, inputs, runtime)
        part = max(LEAST_BATCH, -(-method.batch_size // machines.processes))  # BatchNorm, here on its own, needs two
        batch = method.begin_epoch(0)[BatchIndices(0, np.arange(part))]
        for _ in range(STEPS):
            group.begin()
            gpu.restart()
            method.step(batch, method.epochs / 2)
        group.largest(0)  # the loop's own message, on whether to save
        parts, state = _parts(method.state_dict(), gpu, group.sent().gradients)
    encoder = experiment.encoder_of(experiment.rounds if training.iteration is None else training.iteration)
    sizes = f"{training.key}.batch_size", method.batch_size, part, method.epochs
    return Footprint(training.name, training.title, training.times, _name(encoder), *sizes, parts, group.sent(), state, bytes_of(batch))


def _method(experiment: Experiment, iteration: int | None, inputs: Inputs, runtime: Runtime) -> Method[Any]:
    """A training as its script makes it."""
    count = len(inputs.corpus)
    labels = torch.arange(count) % min(experiment.cluster.clusters, count)
    if iteration == 0:
        # Partners take no memory within a step; a clustering at the start would need embeddings.
        alone = resolve(merged(experiment.model_dump(), {"pretrain": {"cluster_aware": {"partners": "none"}}}))
        return Pretraining(PretrainJob.of(alone), inputs, runtime)
    if iteration is None:
        return _tuning(experiment, inputs, labels, runtime)
    if experiment.modality == "audio_visual":
        both = TrainAvJob.of_round(experiment, iteration)
        picture = np.zeros((112, 96, 3), np.uint8)
        faces = SimpleNamespace(count=np.ones(count, np.int64), image=lambda utterance, face: picture)
        return AudioVisualDlgLc(both, inputs, cast(PackedFaces, faces), labels, iteration, runtime)
    job = TrainJob.of_round(experiment, iteration)
    new = job.model_copy(update={"train": job.train.model_copy(update={"start": "new"})})  # where it starts changes no size
    return DlgLc(new, inputs, labels, iteration, runtime)


def _tuning(experiment: Experiment, inputs: Inputs, labels: Tensor, runtime: Runtime) -> Tuning:
    job = CompleteTuneJob.with_large_margin(experiment)
    last = experiment.encoder_of(experiment.rounds)
    encoder = untrained(last, job.features.mel_bins, job.seed, 0)
    classifier = fresh_classifier(job.tune, last.embedding, int(labels.max()) + 1, job.seed, LARGE_MARGIN)
    return Tuning("large margin", job, inputs, encoder, classifier, labels, LARGE_MARGIN, runtime)


def _inputs(experiment: Experiment, utterances: int) -> Inputs:
    """A corpus of zeros, and banks of the sizes that the settings name; what is on the GPU takes no memory here."""
    each = round(60 * experiment.noise.minutes_per_kind / SECONDS)
    noise = _bank(len(NOISE_KINDS) * each, SECONDS, NOISE_KINDS)
    rooms = experiment.rirs.max_responses if experiment.rirs.path else experiment.rirs.simulated_rooms
    rirs = _bank(rooms, experiment.rirs.seconds, RIR_KINDS)
    sampler = AugmentationSampler(experiment.augmentation, noise.kind.numpy(), len(rirs))
    features = FeatureExtractor(Augmenter(noise, rirs, GPU), LogMel(experiment.features), GPU)
    return Inputs(cast(PackedCorpus, _Corpus(utterances)), sampler, features)


def _bank(segments: int, seconds: float, kinds: tuple[str, ...]) -> Bank:
    """A bank of segments of one length."""
    segments, length = max(segments, len(kinds)), round(seconds * SAMPLE_RATE)
    start = torch.arange(segments) * length
    samples = torch.empty(segments * length, dtype=torch.int16, device=GPU)
    return Bank(samples, start, torch.full_like(start, length), torch.arange(segments) % len(kinds), kinds)


def _parts(state: dict[str, Any], gpu: FakeGpu, gradients: int) -> tuple[dict[str, int], int]:
    """The memory by `PARTS`, and the bytes of the state."""
    parts = dict.fromkeys(PARTS, 0)
    for path, tensor in _tensors(state, ""):
        kind = next((name for name in ("optimiser", "teacher") if name in path), "weights")
        if kind == "weights" and ("prototypes" in path or "classifier" in path):
            kind = "prototypes, classifier"
        parts[kind] += tensor.nbytes
    kept = sum(parts.values())
    parts["gradients"] = gradients
    parts["noise, rooms, labels"] = max(0, gpu.live - kept - gradients)
    parts[ACTIVATIONS] = gpu.peak - gpu.live
    return parts, kept


def _tensors(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a nested state, with the names of the places that they are at."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _tensors(inner, f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner, path)


def _name(encoder: EncoderSettings) -> str:
    if encoder.architecture == "ecapa_tdnn":
        return f"ecapa_tdnn of {encoder.channels} channels"
    return encoder.architecture
