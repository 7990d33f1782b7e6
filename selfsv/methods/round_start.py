"""Weights that a training goes on from: a trained encoder, and where its own embeddings put the classes."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from selfsv.artifacts import read_embeddings
from selfsv.errors import InputError
from selfsv.losses.aam import class_means
from selfsv.models.model_file import load_model
from selfsv.settings.jobs import TrainJob


class Start(NamedTuple):
    """The weights of the round before, or of stage I. A model's file holds no classifier: the means of its embeddings take that place."""

    encoder: nn.Module
    means: Tensor  # [classes, D] of its embeddings, by pseudo label


def read_start(model: Path | None, embeddings: Path | None, labels: Tensor, utterances: np.ndarray, job: TrainJob) -> Start | None:
    """The weights in the model file, for a round on the labels [N] of the utterances [N]; None for a round that begins anew.

    Raises:
        InputError: the model has another encoder than the round's, or the embeddings are not its own.
    """
    if job.train.start == "new":
        return None
    if model is None or embeddings is None:
        raise InputError(f"train.start is {job.train.start}: name that model and its embeddings, --start and --embeddings")
    loaded = load_model(model)
    if loaded.encoder_settings != job.encoder:
        raise InputError(f"{model} has another encoder than this round: start from a model of the same one, or with train.start: new")
    return Start(loaded.encoder, means_of_classes(embeddings, labels, utterances, job.encoder.embedding))


def means_of_classes(path: Path, labels: Tensor, utterances: np.ndarray, dimensions: int) -> Tensor:
    """[classes, dimensions] from the embeddings in the file at `path`.

    Raises:
        InputError: an utterance has no embedding there, or those there are another model's.
    """
    names, embeddings = read_embeddings(path)
    places = pd.Index(names).get_indexer(utterances)
    if (places < 0).any():
        raise InputError(f"{path} has no embedding of '{utterances[places < 0][0]}': extract again")
    if embeddings.shape[1] != dimensions:
        raise InputError(f"the embeddings in {path} have {embeddings.shape[1]} dimensions, the encoder's have {dimensions}: extract again")
    return class_means(torch.from_numpy(embeddings[places]), labels, int(labels.max()) + 1)
