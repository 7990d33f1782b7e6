"""How fast this machine trains: some seconds of real steps of both stages, on recordings of the corpus at hand."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from selfsv.artifacts import write_table
from selfsv.data.augment import AugmentationSampler, Augmenter
from selfsv.data.banks import NOISE_KINDS, RIR_KINDS, bank_of
from selfsv.data.batches import FeatureExtractor
from selfsv.data.corpus import PackedCorpus
from selfsv.data.features import LogMel
from selfsv.engine.epochs import EpochBatches
from selfsv.engine.method import Method
from selfsv.engine.runtime import Runtime
from selfsv.methods.dlg_lc import DlgLc
from selfsv.methods.inputs import Inputs
from selfsv.methods.pretraining import Pretraining
from selfsv.prepare.noise_bank import corpus_source, noise_segments, synthetic_sources
from selfsv.prepare.packing import manifest_of, write_shard
from selfsv.prepare.sizes import Speed
from selfsv.prepare.synthesis import finished_response, simulate_response
from selfsv.settings.data import NoiseSettings
from selfsv.settings.experiment import Experiment, merged, resolve
from selfsv.settings.jobs import PretrainJob, TrainJob

FIRST_STEPS = 2  # in which memory is taken and kernels are chosen
ROOMS, NOISE = 6, NoiseSettings(minutes_per_kind=0.5)


def measured_speed(experiment: Experiment, samples: list[np.ndarray], runtime: Runtime, seconds: float) -> Speed:
    """Train both stages for `seconds` each, and count.

    Args:
        experiment: as far as it is known; how long it trains does not matter.
        samples: recordings, [num_samples] int16 each; they are repeated to fill two batches.
    """
    # Cluster partners cost no time within a step, and need more utterances than there are here.
    experiment = resolve(merged(experiment.model_dump(), {"pretrain": {"cluster_aware": {"partners": "none"}}}))
    count = 2 * max(experiment.pretrain.batch_size, experiment.train.batch_size)
    with tempfile.TemporaryDirectory(prefix="selfsv-probe-") as folder:
        inputs = _inputs(experiment, [samples[index % len(samples)] for index in range(count)], Path(folder), runtime)
        labels = torch.arange(count) % max(2, min(count, experiment.cluster.clusters))
        pretrain = _rate(Pretraining(PretrainJob.of(experiment), inputs, runtime), count, runtime, seconds)
        train = _rate(DlgLc(TrainJob.of(experiment), inputs, labels, 1, runtime), count, runtime, seconds)
    return Speed(pretrain, train)


def _inputs(experiment: Experiment, samples: list[np.ndarray], folder: Path, runtime: Runtime) -> Inputs:
    packed = write_shard(folder / "audio.pt", samples)
    names = [f"{number:06d}" for number in range(len(samples))]
    write_table(folder / "manifest.parquet", manifest_of(pd.DataFrame({"utterance": names, "path": "", "session": "", "shard": 0}), packed))
    corpus = PackedCorpus(folder / "manifest.parquet", [folder / "audio.pt"])
    sources = {**synthetic_sources(NOISE, seed=1), "speech": corpus_source(corpus)}
    noise = bank_of(noise_segments(sources, NOISE, seed=1, threads=1), NOISE_KINDS)
    rooms = (simulate_response(index, seconds=1.0, seed=1) for index in range(ROOMS))
    rirs = bank_of((("room", finished_response(room, 1.0)) for room in rooms), RIR_KINDS)
    sampler = AugmentationSampler(experiment.augmentation, noise.kind.numpy(), len(rirs.start))
    features = FeatureExtractor(Augmenter(noise, rirs, runtime.device), LogMel(experiment.features), runtime.device)
    return Inputs(corpus, sampler, features)


def _rate(method: Method[Any], utterances: int, runtime: Runtime, seconds: float) -> float:
    """Utterances per second, after the first steps."""
    began = 0.0
    for step, batch in enumerate(_batches(method, utterances, runtime)):
        if step == FIRST_STEPS:
            began = _now(runtime)
        method.step(batch, 0.0)
        done = step + 1 - FIRST_STEPS
        if done > 0 and (took := _now(runtime) - began) >= seconds:
            return done * method.batch_size / took
    raise AssertionError("batches never end")


def _batches(method: Method[Any], utterances: int, runtime: Runtime) -> Iterator[Any]:
    while True:
        yield from EpochBatches(method, 0, utterances, runtime).after(0)


def _now(runtime: Runtime) -> float:
    if runtime.device.type == "cuda":
        torch.cuda.synchronize(runtime.device)
    return time.perf_counter()
