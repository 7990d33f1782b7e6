"""Rule `train_av`: one audio-visual round of stage II, from pseudo labels to a new voice encoder and a new face encoder."""

from pathlib import Path

import pandas as pd

from selfsv.artifacts import write_table
from selfsv.data.faces import PackedFaces
from selfsv.engine.history import write_history
from selfsv.engine.loop import fit
from selfsv.engine.runtime import runtime_from
from selfsv.errors import InputError
from selfsv.methods.audio_visual import AudioVisualDlgLc
from selfsv.methods.inputs import followers_of, open_inputs, read_labels, state_file, training_parser
from selfsv.models.face_model import save_face_model
from selfsv.models.model_file import save_model
from selfsv.settings.jobs import TrainAvJob
from selfsv.stage import run


def main() -> None:
    """Train, then write history, gates and losses and, last, the models."""
    parser = training_parser(__doc__, inputs=("labels", "faces"), outputs=("history", "gate", "losses", "face_model", "model"))
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="the shards' aligned faces, in order")
    parser.add_argument("--iteration", type=int, required=True)
    args = parser.parse_args()
    job, runtime, stage = TrainAvJob.read(args.settings), runtime_from(args), args.iteration
    inputs = open_inputs(args, job, runtime)
    faces = PackedFaces(args.faces, args.images, inputs.corpus.utterances)
    if not faces.count.any():
        raise InputError(f"no utterance of {args.manifest} has a face in {args.faces}: are these files of one corpus?")
    if job.require_face:
        inputs = inputs._replace(corpus=inputs.corpus.only(faces.count > 0))
        faces = PackedFaces(args.faces, args.images, inputs.corpus.utterances)
    method = AudioVisualDlgLc(job, inputs, faces, read_labels(args.labels, inputs.corpus.utterances), stage, runtime)
    state = state_file(args, job, f"train-av-{stage}", args.labels, fingerprint=faces.fingerprint())
    provenance = {"stage": "train_av", "iteration": stage, "seed": job.seed, "config_hash": state.key, **runtime.provenance()}

    def save(path: Path, epochs: int) -> None:
        save_model(path, job.encoder, job.features, method.weights("audio"), epochs=epochs, **provenance)

    history = fit(method, len(inputs.corpus), runtime, state, followers_of(args, job, state, save), args.attempt)
    if not runtime.group.first:
        return
    write_history(args.history, history)
    write_table(args.gate, pd.DataFrame(method.gate_rows))
    write_table(args.losses, method.losses(inputs.corpus.utterances))
    save_face_model(args.face_model, job.face_encoder, method.weights("face"), **provenance)
    save_model(args.model, job.encoder, job.features, method.weights("audio"), **provenance)


if __name__ == "__main__":
    run(main)
