"""Rule `finetune`: an encoder tuned on a part of a labelled corpus (paper VI-B, Table VI). The one training that is told who speaks."""

from pathlib import Path

import torch

from selfsv.data.labelled import draw_labelled
from selfsv.engine.history import write_history
from selfsv.engine.loop import fit
from selfsv.engine.runtime import runtime_from
from selfsv.losses.classifiers import fresh_classifier
from selfsv.methods.finetuning import FINETUNING, Tuning
from selfsv.methods.inputs import followers_of, open_inputs, read_encoder, state_file, training_parser
from selfsv.models.encoders import untrained
from selfsv.models.model_file import save_model
from selfsv.settings.jobs import CompleteTuneJob, TuneJob
from selfsv.stage import run


def main() -> None:
    """Tune, then write the history and, last, the model."""
    parser = training_parser(__doc__, inputs=("speakers",), outputs=("history", "model"))
    parser.add_argument("--start", type=Path, help="the model whose encoder is tuned; without one it begins with random weights")
    parser.add_argument("--percent", type=int, required=True, help="of the labelled utterances")
    args = parser.parse_args()
    runtime = runtime_from(args)
    if args.start:
        encoder, job = read_encoder(args.start, TuneJob.read(args.settings))
    else:
        job = CompleteTuneJob.read(args.settings)
        encoder = untrained(job.encoder, job.features.mel_bins, job.seed, 0)
    inputs = open_inputs(args, job, runtime)
    part = draw_labelled(args.speakers, inputs.corpus.utterances, args.percent, job.seed, FINETUNING)
    inputs = inputs._replace(corpus=inputs.corpus.only(part.drawn))
    classifier = fresh_classifier(job.tune, job.encoder.embedding, part.speakers, job.seed, FINETUNING)
    labels = torch.from_numpy(part.labels)
    method = Tuning(f"fine-tuning on {args.percent} %", job, inputs, encoder, classifier, labels, FINETUNING, runtime)
    system = args.model.absolute().parent.name.replace(".", "_")
    state = state_file(args, job, system, *([args.start] if args.start else []), fingerprint=part.fingerprint())
    start = args.start.absolute().parent.name if args.start else "random"
    labelled = {"percent": args.percent, "utterances": len(inputs.corpus), "speakers": part.speakers}
    origin = {"stage": "finetune", "start": start, "labels": labelled, "seed": job.seed, "config_hash": state.key}

    def save(path: Path, epochs: int) -> None:
        save_model(path, job.encoder, job.features, method.network.encoder.state_dict(), epochs=epochs, **origin, **runtime.provenance())

    history = fit(method, len(inputs.corpus), runtime, state, followers_of(args, job, state, save), args.attempt)
    if not runtime.group.first:
        return
    write_history(args.history, history)
    save_model(args.model, job.encoder, job.features, method.network.encoder.state_dict(), **origin, **runtime.provenance())


if __name__ == "__main__":
    run(main)
