"""An experiment as a run leaves it, made in seconds: a small encoder with random weights, real voices, clusters of them."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

from selfsv.artifacts import write_embeddings, write_table
from selfsv.data.corpus import PackedCorpus
from selfsv.data.features import LogMel
from selfsv.engine.extraction import extract_embeddings
from selfsv.engine.runtime import Runtime
from selfsv.models.encoders import untrained
from selfsv.models.model_file import save_model
from selfsv.settings.audio import FeatureSettings
from selfsv.settings.encoder import EncoderSettings
from selfsv.settings.experiment import overlaid, resolve
from selfsv.settings.reading import read_file
from tests.conftest import REPOSITORY, SPEECH, Packed

ENCODER = EncoderSettings(channels=16, mfa_channels=48, bottleneck=8, embedding=24, embedding_batchnorm=True)
VOICES = SPEECH / "dev" / "wav"


class Experiment(NamedTuple):
    """Where things lie."""

    folder: Path
    model: Path  # of the last round
    utterances: np.ndarray
    embeddings: np.ndarray  # [N, 24], as the workflow extracts them
    speakers: list[str]


def experiment_in(folder: Path, packed: Packed, channels: int = 16) -> Experiment:
    """A finished experiment of one round, in `folder`."""
    defaults, strong = (read_file(REPOSITORY / name) for name in ("config.yaml", "systems/strong.yaml"))
    settings = resolve({**overlaid(defaults, strong), "experiment": "small", "rounds": 1})
    encoder_settings, features = ENCODER.model_copy(update={"channels": channels}), FeatureSettings()
    for index in (0, 1):
        model = folder / f"iter_{index}" / "model.pt"
        encoder = untrained(encoder_settings, features.mel_bins, 1, index).eval()
        save_model(model, encoder_settings, features, encoder.state_dict(), stage="train", iteration=index, seed=1, config_hash="0" * 16)
    corpus = PackedCorpus(*packed.paths)
    runtime = Runtime(torch.device("cpu"), 0, False, False, 600.0)
    embeddings = extract_embeddings(encoder, LogMel(features), corpus, runtime)
    write_embeddings(model.parent / "embeddings" / "train.parquet", corpus.utterances, embeddings)
    labels = np.unique(packed.speakers, return_inverse=True)[1]
    labels = pd.DataFrame({"utterance": corpus.utterances, "label": labels, "similarity": np.ones(len(labels), np.float32)})
    write_table(model.parent / "pseudo_labels.parquet", labels)
    (folder / "settings.json").write_text(json.dumps(settings.model_dump(mode="json")))
    return Experiment(folder, model, corpus.utterances, embeddings, packed.speakers)


@pytest.fixture(scope="session")
def experiment(packed, tmp_path_factory) -> Experiment:
    """Of 24 utterances of 6 talkers, with mean subtraction."""
    return experiment_in(tmp_path_factory.mktemp("selfsv") / "small", packed)


def recording(utterance: str) -> Path:
    """The demo's file of an utterance."""
    return VOICES / f"{utterance}.opus"
