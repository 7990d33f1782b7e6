"""Rule `large_margin`: the last round's encoder, tuned on the pseudo labels that it gives, with longer crops and a larger margin."""

from pathlib import Path

from selfsv.engine.history import write_history
from selfsv.engine.loop import fit
from selfsv.engine.runtime import runtime_from
from selfsv.losses.classifiers import knowing_classifier
from selfsv.methods.finetuning import LARGE_MARGIN, Tuning
from selfsv.methods.inputs import followers_of, open_inputs, read_encoder, read_labels, state_file, training_parser
from selfsv.methods.round_start import means_of_classes
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

    means = means_of_classes(args.embeddings, labels, utterances, job.encoder.embedding)
    classifier = knowing_classifier(job.tune, means, job.seed, LARGE_MARGIN)
    method = Tuning("large-margin fine-tuning", job, inputs, encoder, classifier, labels, LARGE_MARGIN, runtime)
    state = state_file(args, job, "large_margin", args.start, args.embeddings, args.labels)
    provenance = {"stage": "large_margin", "seed": job.seed, "config_hash": state.key, **runtime.provenance()}

    def save(path: Path, epochs: int) -> None:
        save_model(path, job.encoder, job.features, method.network.encoder.state_dict(), epochs=epochs, **provenance)

    history = fit(method, len(utterances), runtime, state, followers_of(args, job, state, save), args.attempt)
    if not runtime.group.first:
        return
    write_history(args.history, history)
    save_model(args.model, job.encoder, job.features, method.network.encoder.state_dict(), **provenance)


if __name__ == "__main__":
    run(main)
