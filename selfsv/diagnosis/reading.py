"""Inputs of a diagnosis, in the order of the training corpus's utterances."""

from pathlib import Path

import numpy as np
import pandas as pd

from selfsv.artifacts import read_embeddings, read_labels, read_table
from selfsv.diagnosis.recording_parts import FIRST
from selfsv.errors import InputError

DECISIONS = ("reliable", "corrected", "dropped")


def labels_of(path: Path, utterances: np.ndarray) -> np.ndarray:
    """[N] the pseudo label of each utterance in the file at `path`."""
    return looked_up(path, read_labels(path), "label", utterances)


def looked_up(path: Path, table: pd.DataFrame, column: str, utterances: np.ndarray) -> np.ndarray:
    """[N] what `table`, read from `path`, says of each utterance.

    Raises:
        InputError: it has an utterance twice, or lacks one of these; the message names the file and the utterance.
    """
    twice = table["utterance"].duplicated()
    if twice.any():
        raise InputError(f"{path} has '{table['utterance'][twice].iloc[0]}' twice: run the stage that makes it again")
    values = table.set_index("utterance")[column].reindex(utterances)
    if values.isna().any():
        culprit = utterances[int(np.argmax(values.isna()))]
        raise InputError(f"{path} lacks '{culprit}': it is of another run; run the stage that makes it again")
    return values.to_numpy()


def read_parts(path: Path | None, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """The names [M] of recordings, and the embeddings [2M, dimensions] of their first parts, then of their last; none without a file.

    Raises:
        InputError: the file is damaged, lacks a part, or is of another model.
    """
    nothing = np.empty(0, object), np.empty((0, dimensions), np.float32)
    if path is None:
        return nothing
    names, embeddings = read_embeddings(path)
    if not len(names):
        return nothing
    first = read_table(path, ["part"])["part"].to_numpy() == FIRST
    order = np.concatenate([np.flatnonzero(side)[np.argsort(names[side])] for side in (first, ~first)])
    one, other = np.array_split(names[order], 2)
    if embeddings.shape[1] != dimensions or not np.array_equal(one, other):
        problem = f"a first and a last part of each recording, each of {dimensions} dimensions"
        raise InputError(f"{path} should hold {problem}: run the stage `extract_parts` again")
    return one, embeddings[order]


def gate_shares(path: Path | None) -> dict[str, float]:
    """What the gate on voices made of the labels in the last epoch, as fractions of the utterances; NaN without a gate."""
    if path is None:
        return {f"gate_{name}": float("nan") for name in DECISIONS}
    rows = read_table(path, ["modality", "epoch", *DECISIONS])
    voices = rows[rows["modality"] == "audio"].sort_values("epoch")
    if voices.empty:
        raise InputError(f"{path} has no epoch of the gate on voices: train the round again")
    return {f"gate_{name}": float(voices[name].iloc[-1]) for name in DECISIONS}
