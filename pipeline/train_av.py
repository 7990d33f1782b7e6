"""Rule `train_av`: one audio-visual round of stage II, from pseudo labels to a new voice encoder and a new face encoder."""

from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from selfsv.artifacts import write_table
from selfsv.data.batches import TrainCrops
from selfsv.data.face_augment import FaceInput
from selfsv.data.face_batches import AudioVisualCrops
from selfsv.data.faces import PackedFaces
from selfsv.engine.history import write_history
from selfsv.engine.loop import extra_epoch, fit
from selfsv.engine.runtime import runtime_from
from selfsv.errors import InputError
from selfsv.methods.audio_visual import AudioVisualTraining, ModalityTrainers
from selfsv.methods.inputs import open_inputs, read_labels, state_file, training_parser
from selfsv.methods.modality_trainer import ModalityTrainer
from selfsv.models.ecapa import untrained
from selfsv.models.face_model import save_face_model
from selfsv.models.model_file import save_model
from selfsv.models.resnet34 import untrained_face_encoder
from selfsv.settings.jobs import TrainAvJob
from selfsv.stage import run


def main() -> None:
    """Train, then write history, gates and losses and, last, the models."""
    made = training_parser(__doc__, inputs=("labels", "faces"), outputs=("history", "gate", "losses", "face_model", "model"))
    made.add_argument("--images", type=Path, nargs="+", required=True, help="the shards' aligned faces, in order")
    made.add_argument("--iteration", type=int, required=True)
    args = made.parse_args()
    job, runtime, stage = TrainAvJob.read(args.settings), runtime_from(args), args.iteration
    corpus, sampler, features = open_inputs(args, job, runtime)
    if job.require_face:
        corpus = corpus.only(PackedFaces(args.faces, args.images, corpus.utterances).count > 0)
    faces = PackedFaces(args.faces, args.images, corpus.utterances)
    if not faces.count.any():
        raise InputError(f"no utterance of {args.manifest} has a face in {args.faces}: are these files of one corpus?")
    labels = read_labels(args.labels, corpus.utterances)

    def branch(modality: str, encoder: nn.Module, embedding: int, present: np.ndarray) -> ModalityTrainer:
        return ModalityTrainer(modality, job.train, encoder, embedding, int(labels.max()) + 1, present, runtime, several=True)

    branches = ModalityTrainers(
        branch("audio", untrained(job.encoder, job.features.mel_bins, job.seed, stage), job.encoder.embedding, np.ones(len(corpus), bool)),
        branch("face", untrained_face_encoder(job.face_encoder, job.seed, stage), job.face_encoder.embedding, faces.count > 0),
    )
    crops = TrainCrops(corpus, sampler, job.train.crop_seconds, job.seed, stage)
    pairs = AudioVisualCrops(crops, faces, job.face_augmentation, job.seed, stage)
    face_input = FaceInput(job.face_encoder.input_side, runtime.device)
    method = AudioVisualTraining(job.train, branches, labels, job.seed, stage, features, face_input, pairs)
    state = state_file(args, job, f"train-av-{stage}", args.labels, fingerprint=faces.fingerprint())
    history = fit(method, len(corpus), runtime, state, args.model.parent / "tensorboard", args.attempt)
    method.finalize(lambda: extra_epoch(method, len(corpus), runtime))
    if not runtime.group.first:
        return
    write_history(args.history, history)
    write_table(args.gate, pd.DataFrame(method.gate_rows))
    write_table(args.losses, method.losses(corpus.utterances))
    provenance = {"stage": "train_av", "iteration": stage, "seed": job.seed, "config_hash": state.key, **runtime.provenance()}
    save_face_model(args.face_model, job.face_encoder, branches.face.encoder.state_dict(), **provenance)
    save_model(args.model, job.encoder, job.features, branches.voice.encoder.state_dict(), **provenance)


if __name__ == "__main__":
    run(main)
