"""Rule `train`: one round of stage II, from pseudo labels to a new encoder (DLG-LC)."""

from pathlib import Path

import pandas as pd

from selfsv.artifacts import write_table
from selfsv.engine.history import write_history
from selfsv.engine.loop import fit
from selfsv.engine.runtime import runtime_from
from selfsv.methods.dlg_lc import DlgLc
from selfsv.methods.inputs import followers_of, open_inputs, read_labels, state_file, training_parser
from selfsv.methods.round_start import read_start
from selfsv.models.model_file import save_model
from selfsv.settings.jobs import TrainJob
from selfsv.stage import run


def main() -> None:
    """Train, then write history, gate and losses and, last, the model."""
    parser = training_parser(__doc__, inputs=("labels",), outputs=("history", "gate", "losses", "model"))
    parser.add_argument("--iteration", type=int, required=True)
    parser.add_argument("--start", type=Path, help="a model to go on from, where train.start is not new")
    parser.add_argument("--embeddings", type=Path, help="of the training corpus, from that model")
    args = parser.parse_args()
    job, runtime = TrainJob.read(args.settings), runtime_from(args)
    inputs = open_inputs(args, job, runtime)
    labels = read_labels(args.labels, inputs.corpus.utterances)
    start = read_start(args.start, args.embeddings, labels, inputs.corpus.utterances, job)
    method = DlgLc(job, inputs, labels, args.iteration, runtime, start)
    state = state_file(args, job, f"train-{args.iteration}", args.labels, *([args.start, args.embeddings] if start else []))
    provenance = {"stage": "train", "iteration": args.iteration, "seed": job.seed, "config_hash": state.key, **runtime.provenance()}

    def save(path: Path, epochs: int) -> None:
        save_model(path, job.encoder, job.features, method.weights("audio"), epochs=epochs, **provenance)

    history = fit(method, len(inputs.corpus), runtime, state, followers_of(args, job, state, save), args.attempt)
    if not runtime.group.first:
        return
    write_history(args.history, history)
    write_table(args.gate, pd.DataFrame(method.gate_rows))
    write_table(args.losses, method.losses(inputs.corpus.utterances))
    save_model(args.model, job.encoder, job.features, method.weights("audio"), **provenance)


if __name__ == "__main__":
    run(main)
