"""Rule `train`: one round of stage II, from pseudo labels to a new encoder (DLG-LC)."""

import numpy as np
import pandas as pd

from selfsv.artifacts import write_table
from selfsv.data.batches import TrainCrops
from selfsv.engine.history import write_history
from selfsv.engine.loop import extra_epoch, fit
from selfsv.engine.runtime import runtime_from
from selfsv.methods.dlg_lc import GatedTraining
from selfsv.methods.inputs import open_inputs, read_labels, state_file, training_parser
from selfsv.methods.modality_trainer import ModalityTrainer
from selfsv.models.ecapa import untrained
from selfsv.models.model_file import save_model
from selfsv.settings.jobs import TrainJob
from selfsv.stage import run


def main() -> None:
    """Train, then write history, gate and losses and, last, the model."""
    made = training_parser(__doc__, inputs=("labels",), outputs=("history", "gate", "losses", "model"))
    made.add_argument("--iteration", type=int, required=True)
    args = made.parse_args()
    job, runtime = TrainJob.read(args.settings), runtime_from(args)
    corpus, sampler, features = open_inputs(args, job, runtime)
    crops = TrainCrops(corpus, sampler, job.train.crop_seconds, job.seed, args.iteration)
    encoder = untrained(job.encoder, job.features.mel_bins, job.seed, args.iteration)
    labels = read_labels(args.labels, corpus.utterances)
    everyone = np.ones(len(corpus), dtype=bool)
    voice = ModalityTrainer("audio", job.train, encoder, job.encoder.embedding, int(labels.max()) + 1, everyone, runtime)
    method = GatedTraining(job.train, voice, labels, job.seed, args.iteration, features, crops)
    stage = f"train-{args.iteration}"
    state = state_file(args, job, stage, args.labels)
    history = fit(method, len(corpus), runtime, state, args.model.parent / "tensorboard", args.attempt)
    method.finalize(lambda: extra_epoch(method, len(corpus), runtime))
    if not runtime.group.first:
        return
    write_history(args.history, history)
    write_table(args.gate, pd.DataFrame(method.gate_rows))
    write_table(args.losses, method.losses(corpus.utterances))
    provenance = {"stage": "train", "iteration": args.iteration, "seed": job.seed, "config_hash": state.key, **runtime.provenance()}
    save_model(args.model, job.encoder, job.features, encoder.state_dict(), **provenance)


if __name__ == "__main__":
    run(main)
