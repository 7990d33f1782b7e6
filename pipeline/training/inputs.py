"""What both training scripts read: the packed corpus, the augmentation banks, the options."""

import argparse
from pathlib import Path
from typing import NamedTuple

from pipeline.artifacts import content_hash
from pipeline.audio.augment import Augmenter, Planner
from pipeline.audio.banks import load_bank
from pipeline.audio.corpus import PackedCorpus
from pipeline.audio.features import LogMel
from pipeline.command import parser
from pipeline.settings.jobs import Job, PretrainJob, TrainJob
from pipeline.training.batches import FeatureExtractor
from pipeline.training.runtime import Runtime, add_arguments, add_data_arguments
from pipeline.training.state import StateFile


class Inputs(NamedTuple):
    """A training job's inputs, opened."""

    corpus: PackedCorpus
    planner: Planner
    features: FeatureExtractor


def training_parser(description: str | None, *, inputs: tuple[str, ...] = (), outputs: tuple[str, ...]) -> argparse.ArgumentParser:
    """The options of a training script."""
    made = parser(description, inputs=("noise", "rirs", "state", *inputs), outputs=outputs)
    add_data_arguments(made)
    add_arguments(made)
    return made


def open_inputs(args: argparse.Namespace, job: PretrainJob | TrainJob, runtime: Runtime) -> Inputs:
    """Open the corpus and the banks that `args` name."""
    noise, rirs = load_bank(args.noise), load_bank(args.rirs)
    planner = Planner(job.augmentation, noise.kind.numpy(), len(rirs.start))
    features = FeatureExtractor(Augmenter(noise, rirs, runtime.device), LogMel(job.features), runtime.device)
    return Inputs(PackedCorpus(args.manifest, args.audio), planner, features)


def state_file(args: argparse.Namespace, job: Job, stage: str, *labels: Path) -> StateFile:
    """The state that belongs to these settings and inputs.

    The audio itself stands for itself through its manifest, which names every utterance, its place and its length.
    """
    return StateFile(args.state, stage, content_hash([args.manifest, args.noise, args.rirs, *labels], job.to_json()))
