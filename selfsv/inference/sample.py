"""Some real recordings: named ones, or of the packed corpus that a model was trained on."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from selfsv.data.corpus import PackedCorpus
from selfsv.data.features import FULL_SCALE
from selfsv.errors import InputError
from selfsv.inference.loading import experiment_settings
from selfsv.prepare.containers import RejectionError
from selfsv.prepare.decoding import RATE, load_utterance

MOST = 200  # recordings
LONGEST_SECONDS = 20
SHORTEST_SECONDS, SILENCE = 1.0, 0.001

T = TypeVar("T")


def real_waves(model: Path, paths: Sequence[str]) -> list[np.ndarray]:
    """At most `MOST` waveforms, [N] float32 of 16 kHz and at most `LONGEST_SECONDS` each.

    Args:
        model: the model's file; without `paths`, recordings of its experiment's packed training corpus are taken.

    Raises:
        InputError: a recording cannot be used, or there are no paths and the corpus is not there.
    """
    if not paths:
        return _packed(model)
    try:
        found = [load_utterance(path, min_seconds=SHORTEST_SECONDS, min_peak=SILENCE) for path in spread(paths, MOST)]
    except RejectionError as error:
        raise InputError(f"a recording cannot be used: {error}") from None
    return list(map(_wave, found))


def _packed(model: Path) -> list[np.ndarray]:
    settings = experiment_settings(model)
    folder = None if settings is None else model.resolve().parents[1] / "data" / settings.train_corpus
    shards = [] if folder is None else sorted(folder.glob("audio-*.pt"), key=lambda path: int(path.stem.partition("-")[2]))
    if folder is None or not shards or not (folder / "manifest.parquet").is_file():
        raise InputError(f"{model} is without its packed training corpus: name some recordings, --recordings PATH")
    corpus = PackedCorpus(folder / "manifest.parquet", shards)
    usable: list[int] = np.flatnonzero(corpus.num_samples >= SHORTEST_SECONDS * RATE).tolist()
    return [_wave(corpus.samples(index)) for index in spread(usable, MOST)]


def spread(things: Sequence[T], most: int) -> list[T]:
    """At most that many things, from all parts of a sequence."""
    if not len(things):
        return []
    return [things[index] for index in np.unique(np.linspace(0, len(things) - 1, most, dtype=int))]


def _wave(samples: np.ndarray) -> np.ndarray:
    return samples[: LONGEST_SECONDS * RATE].astype(np.float32) / FULL_SCALE
