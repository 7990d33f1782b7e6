"""Rule `diagnose`: the quality of one system's embeddings and clusters, without a speaker label and without a labelled trial."""

from pathlib import Path

import faiss
import numpy as np
import pandas as pd

from selfsv.artifacts import read_embeddings, read_labels, read_table, write_table
from selfsv.diagnosis.measures import (
    PseudoScorer,
    agreement_with_round_before,
    agreement_with_sessions,
    geometry,
    trials_of_parts,
    trials_of_sessions,
)
from selfsv.diagnosis.recording_parts import FIRST
from selfsv.errors import InputError
from selfsv.settings.jobs import DiagnoseJob
from selfsv.stage import parser, run

DECISIONS = ("reliable", "corrected", "dropped")


def main() -> None:
    """Read embeddings, pseudo labels and sessions, write one row."""
    arguments = parser(__doc__, inputs=("embeddings", "pseudo_labels", "manifest"), outputs=("output",))
    arguments.add_argument("--parts", type=Path, help="embeddings of parts of recordings; without them there is no error rate on parts")
    arguments.add_argument("--previous-labels", type=Path, help="the pseudo labels that the round was trained on")
    arguments.add_argument("--gate", type=Path, help="the round's gate")
    arguments.add_argument("--threads", type=int, default=faiss.omp_get_max_threads())
    args = arguments.parse_args()
    settings = DiagnoseJob.read(args.settings)
    faiss.omp_set_num_threads(args.threads)

    utterances, embeddings = read_embeddings(args.embeddings)
    labels = labels_of(args.pseudo_labels, utterances)
    before = labels_of(args.previous_labels, utterances) if args.previous_labels else None
    manifest = read_table(args.manifest, ["utterance", "session"])
    sessions = pd.factorize(looked_up(args.manifest, manifest, "session", utterances))[0]
    names, parts = read_parts(args.parts, embeddings.shape[1])
    everywhere = np.arange(len(utterances))
    corpus = pd.DataFrame({"utterance": utterances, "position": everywhere})
    recordings = looked_up(args.embeddings, corpus, "position", names)
    scorer = PseudoScorer(embeddings, labels, settings.score)
    row = {
        "system": args.pseudo_labels.resolve().parent.name,
        "utterances": len(utterances),
        "sessions": len(np.unique(sessions)),
        "clusters": len(np.unique(labels)),
        **scorer.row("part", trials_of_parts(sessions[recordings]), parts, np.tile(recordings, 2)),
        **scorer.row("session", trials_of_sessions(sessions), embeddings, everywhere),
        **agreement_with_sessions(labels, sessions),
        **agreement_with_round_before(labels, before),
        **geometry(embeddings, labels, settings.cluster),
        **gate_shares(args.gate),
    }
    write_table(args.output, pd.DataFrame([row]))


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


if __name__ == "__main__":
    run(main)
