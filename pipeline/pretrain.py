"""Rule `pretrain`: stage I, CA-DINO, from packed audio to the encoder of `iter_0`."""

from functools import partial

import numpy as np
from torch import nn

from selfsv.clustering.kmeans import centred_unit
from selfsv.data.batches import PretrainCrops
from selfsv.data.crops import ClusterPartners
from selfsv.data.features import LogMel
from selfsv.engine.extraction import extract_embeddings
from selfsv.engine.history import write_history
from selfsv.engine.loop import fit
from selfsv.engine.runtime import runtime_from
from selfsv.errors import InputError
from selfsv.methods.ca_dino import Pretraining
from selfsv.methods.inputs import open_inputs, state_file, training_parser
from selfsv.models.ecapa import untrained
from selfsv.models.model_file import save_model
from selfsv.settings.jobs import PretrainJob
from selfsv.stage import run


def main() -> None:
    """Train, then write the history and, last, the model."""
    args = training_parser(__doc__, outputs=("history", "model")).parse_args()
    job, runtime = PretrainJob.read(args.settings), runtime_from(args)
    corpus, sampler, features = open_inputs(args, job, runtime)
    aware = job.pretrain.cluster_aware
    if aware.start_epoch < job.pretrain.epochs and aware.clusters > len(corpus):
        raise InputError(f"pretrain.cluster_aware.clusters is {aware.clusters}, but there are only {len(corpus)} utterances: lower it")

    def crops(partners: ClusterPartners | None) -> PretrainCrops:
        return PretrainCrops(corpus, sampler, job.pretrain.crops, job.seed, partners)

    def extract(encoder: nn.Module) -> np.ndarray:
        return extract_embeddings(encoder, LogMel(job.features), corpus, runtime)

    encoder = untrained(job.encoder, job.features.mel_bins, job.seed, 0)
    prepare = partial(centred_unit, subtract_mean=bool(job.preparation.subtract_mean), whitening=job.preparation.whitening)
    method = Pretraining(job.pretrain, encoder, job.encoder.embedding, job.seed, runtime, features, crops, extract, prepare)
    state = state_file(args, job, "pretrain")
    history = fit(method, len(corpus), runtime, state, args.model.parent / "tensorboard", args.attempt)
    if not runtime.group.first:
        return
    write_history(args.history, history)
    provenance = {"stage": "pretrain", "iteration": 0, "seed": job.seed, "config_hash": state.key, **runtime.provenance()}
    save_model(args.model, job.encoder, job.features, method.exported(), **provenance)


if __name__ == "__main__":
    run(main)
