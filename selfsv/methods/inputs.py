"""Inputs of the training scripts: the packed corpus, the augmentation banks, the options."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from selfsv import artifacts
from selfsv.artifacts import content_hash
from selfsv.data.augment import AugmentationSampler, Augmenter
from selfsv.data.banks import load_bank
from selfsv.data.batches import FeatureExtractor
from selfsv.data.corpus import PackedCorpus
from selfsv.data.features import LogMel
from selfsv.data.scratch import local_copies
from selfsv.engine.checkpoints import State, StateFile
from selfsv.engine.history import TensorBoard
from selfsv.engine.loop import Follower
from selfsv.engine.runtime import Runtime, add_arguments, add_data_arguments
from selfsv.engine.shared_start import SharedStart
from selfsv.engine.snapshots import Snapshots
from selfsv.engine.tracker import Tracker
from selfsv.errors import InputError
from selfsv.models.model_file import load_model
from selfsv.settings.jobs import CompleteTuneJob, Job, PretrainJob, TrainJob, TuneJob
from selfsv.settings.section import Section
from selfsv.stage import parser


class Inputs(NamedTuple):
    """A training job's inputs, opened."""

    corpus: PackedCorpus
    sampler: AugmentationSampler
    features: FeatureExtractor


def training_parser(description: str | None, *, inputs: tuple[str, ...] = (), outputs: tuple[str, ...]) -> argparse.ArgumentParser:
    """The options of a training script."""
    arguments = parser(description, inputs=("noise", "rirs", "state", *inputs), outputs=outputs)
    add_data_arguments(arguments)
    add_arguments(arguments)
    arguments.add_argument("--snapshot-epochs", type=int, help="between the models that it writes on its way; default: none")
    arguments.add_argument("--tracker", choices=["none", "mlflow"], default="none", help="a server that has the history, too")
    arguments.add_argument("--attempt", type=int, default=1, help="the workflow's count of tries of this job, from 1")
    return arguments


def open_inputs(args: argparse.Namespace, job: PretrainJob | TrainJob | CompleteTuneJob, runtime: Runtime) -> Inputs:
    """Open the corpus and the banks that `args` name."""
    noise, rirs = load_bank(args.noise), load_bank(args.rirs)
    sampler = AugmentationSampler(job.augmentation, noise.kind.numpy(), len(rirs.start))
    features = FeatureExtractor(Augmenter(noise, rirs, runtime.device), runtime.with_kernels(LogMel(job.features)), runtime.device)
    return Inputs(PackedCorpus(args.manifest, local_copies(args.audio, args.scratch)), sampler, features)


def read_encoder(path: Path, job: TuneJob) -> tuple[nn.Module, CompleteTuneJob]:
    """The encoder of the model in the file at `path`, and `job` with that model's settings: it may come from another experiment.

    Raises:
        InputError: the file is damaged, or has no encoder that could be trained.
    """
    model = load_model(path)
    if model.encoder_settings is None:
        raise InputError(f"{path} holds nothing that can be trained: start from the model of a round, iter_0 or later")
    return model.encoder, CompleteTuneJob(**dict(job), encoder=model.encoder_settings, features=model.feature_settings)


def read_labels(path: Path, utterances: np.ndarray) -> Tensor:
    """[N] int64 pseudo labels of the given utterances.

    Raises:
        InputError: an utterance has none, or a label cannot be one.
    """
    labels = artifacts.read_labels(path).set_index("utterance")["label"].reindex(utterances)
    if labels.isna().any():
        raise InputError(f"'{labels.index[labels.isna()][0]}' has no pseudo label: extract and cluster again")
    return torch.tensor(labels.to_numpy("int64"))  # a copy: pandas gives away what may not be written to


def state_file(args: argparse.Namespace, job: Job, stage: str, *files: Path, fingerprint: str = "") -> StateFile:
    """The state that belongs to these settings and inputs.

    Of the audio the manifest is hashed, not the samples: it names every utterance, its place and its length.

    Args:
        files: what else the training depends on, such as its labels.
        fingerprint: of inputs that have no file of their own, such as the faces of the utterances that are trained on.
    """
    return StateFile(args.state, stage, _key(args, job, *files, fingerprint=fingerprint))


def pretraining_state(args: argparse.Namespace, job: PretrainJob) -> State:
    """The state of stage I. In the folder `args.shared_start`, if any, it shares the epochs before the first clustering with all trainings
    whose clusters alone are others."""
    own, epochs = state_file(args, job, "pretrain"), min(job.pretrain.cluster_aware.start_epoch, job.pretrain.epochs)
    if not args.shared_start or not epochs:
        return own
    return SharedStart(own, StateFile(args.shared_start, "start", _key(args, job.before_clusters())), epochs)


def _key(args: argparse.Namespace, job: Job, *files: Path, fingerprint: str = "") -> str:
    texts = [job.to_json(), *([fingerprint] if fingerprint else [])]
    return content_hash([args.manifest, args.noise, args.rirs, *files], *texts)


def followers_of(args: argparse.Namespace, job: Section, state: State, save: Callable[[Path, int], None]) -> list[Follower]:
    """Who is to have the history of this training as it grows.

    Args:
        save: writes the model as it is now, given the path and the number of epochs so far.
    """
    system = args.model.absolute().parent
    followers: list[Follower] = [TensorBoard(system / "tensorboard")]
    if args.snapshot_epochs:
        followers.append(Snapshots.beside(args.model, args.snapshot_epochs, save))
    if args.tracker != "none":
        followers.append(Tracker(system.parent.name, system.name, state.key, job.model_dump(mode="json")))
    return followers
