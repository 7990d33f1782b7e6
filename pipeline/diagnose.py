"""Rule `diagnose`: the quality of one system's embeddings and clusters, without a speaker label and without a labelled trial."""

import logging
from pathlib import Path

import faiss
import numpy as np
import pandas as pd

from selfsv.artifacts import read_embeddings, read_table, write_table
from selfsv.diagnosis.doubts import doubts
from selfsv.diagnosis.measures import (
    PseudoScorer,
    agreement_with_round_before,
    agreement_with_sessions,
    geometry,
    trials_of_parts,
    trials_of_sessions,
)
from selfsv.diagnosis.reading import gate_shares, labels_of, looked_up, read_parts
from selfsv.settings.jobs import DiagnoseJob
from selfsv.stage import parser, run

LOG = logging.getLogger("selfsv")


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
    found = doubts(row)
    for doubt in found:
        LOG.warning("%s may have learnt nothing: %s", row["system"], doubt)
    write_table(args.output, pd.DataFrame([{**row, "doubts": "; ".join(found)}]))


if __name__ == "__main__":
    run(main)
