"""Rule `large_margin`: the last round's encoder, tuned on the pseudo labels that it gives, with longer crops and a larger margin."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from selfsv.artifacts import read_embeddings
from selfsv.engine.history import write_history
from selfsv.engine.loop import fit
from selfsv.engine.runtime import runtime_from
from selfsv.errors import InputError
from selfsv.losses.aam import class_means
from selfsv.methods.finetuning import LARGE_MARGIN, Tuning, knowing_classifier
from selfsv.methods.inputs import open_inputs, read_encoder, read_labels, state_file, training_parser
from selfsv.models.model_file import save_model
from selfsv.settings.jobs import TuneJob
from selfsv.stage import run


def main() -> None:
    """Tune, then write the history and, last, the model."""
    args = training_parser(__doc__, inputs=("start", "embeddings", "labels"), outputs=("history", "model")).parse_args()
    runtime = runtime_from(args)
    encoder, job = read_encoder(args.start, TuneJob.read(args.settings))
    inputs = open_inputs(args, job, runtime)
    utterances = inputs.corpus.utterances
    labels = read_labels(args.labels, utterances)

    # A model's file holds no classifier: the encoder's own embeddings say where the classes are.
    classifier = knowing_classifier(means_of_classes(args.embeddings, labels, utterances, job.encoder.embedding))
    method = Tuning("large-margin fine-tuning", job, inputs, encoder, classifier, labels, LARGE_MARGIN, runtime)
    state = state_file(args, job, "large_margin", args.start, args.embeddings, args.labels)
    history = fit(method, len(utterances), runtime, state, args.model.parent / "tensorboard", args.attempt)
    if not runtime.group.first:
        return
    write_history(args.history, history)
    provenance = {"stage": "large_margin", "seed": job.seed, "config_hash": state.key, **runtime.provenance()}
    save_model(args.model, job.encoder, job.features, method.network.encoder.state_dict(), **provenance)


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


if __name__ == "__main__":
    run(main)
