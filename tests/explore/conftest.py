"""An experiment of two iterations on real voices, with made-up embeddings, clusters and losses; no speaker is written anywhere."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfsv.artifacts import write_embeddings, write_table
from selfsv.settings.experiment import resolve
from selfsv.settings.reading import read_file
from tests.conftest import REPOSITORY, Packed

DIMENSIONS, CLUSTERS = 16, 4


def write_experiment(folder: Path, packed: Packed, names: list[str], seed: int = 5) -> Path:
    """Finished iterations 0 and 1 of a corpus of `names`, whose sounds are those of `packed` in turn; its folder."""
    rng = np.random.default_rng(seed)
    settings = resolve({**read_file(REPOSITORY / "config.yaml"), "experiment": "small", "rounds": 1, "pack": {"shards": 2}})
    write_corpus(folder / "data" / "train", packed, names)
    (folder / "settings.json").write_text(json.dumps(settings.model_dump(mode="json")))
    labels = np.arange(len(names)) % CLUSTERS
    centres = rng.normal(size=(CLUSTERS, DIMENSIONS))
    for index in (0, 1):
        embeddings = centres[labels] + 0.3 * rng.normal(size=(len(names), DIMENSIONS))
        write_embeddings(folder / f"iter_{index}" / "embeddings" / "train.parquet", np.array(names, object), embeddings)
        similarity = rng.uniform(0.2, 1, len(names)).astype(np.float32)
        table = pd.DataFrame({"utterance": names, "label": labels, "similarity": similarity})
        write_table(folder / f"iter_{index}" / "pseudo_labels.parquet", table)
        labels = np.where(rng.random(len(names)) < 0.2, (labels + 1) % CLUSTERS, labels)
    decisions = rng.choice(["reliable", "corrected", "dropped"], len(names), p=[0.6, 0.2, 0.2])
    losses = pd.DataFrame({"utterance": names, "loss_clean": rng.gamma(2, 2, len(names)).astype(np.float32), "decision": decisions})
    write_table(folder / "iter_1" / "losses.parquet", losses.sample(frac=1, random_state=1))
    write_table(folder / "iter_1" / "gate.parquet", pd.DataFrame({"modality": ["audio"] * 2, "epoch": [0, 1], "tau1": [None, 3.25]}))
    return folder


def write_corpus(folder: Path, packed: Packed, names: list[str]) -> None:
    """Manifest and shards."""
    folder.mkdir(parents=True)
    for shard in packed.paths[1]:
        shutil.copy(shard, folder)
    places = pd.read_parquet(packed.paths[0])
    manifest = places.iloc[np.arange(len(names)) % len(places)].reset_index(drop=True)
    sessions = [f"session {number % 7}" for number in range(len(names))]
    write_table(folder / "manifest.parquet", manifest.assign(utterance=names, session=sessions, path="gone.wav", reason=""))


@pytest.fixture
def experiment(packed, tmp_path) -> Path:
    """Forty utterances; free to be changed."""
    return write_experiment(tmp_path / "small", packed, [f"voice {number:02d}" for number in range(40)])
