"""Rule `extract`: embeddings of all whole, clean utterances of a corpus by one model."""

from selfsv.artifacts import write_embeddings
from selfsv.data.corpus import PackedCorpus
from selfsv.engine.extraction import extract_embeddings
from selfsv.engine.runtime import add_data_arguments, add_extraction_arguments, runtime_from
from selfsv.errors import InputError
from selfsv.models.model_file import load_model
from selfsv.progress import progress
from selfsv.stage import parser, run


def main() -> None:
    """Extract and write."""
    arguments = parser(__doc__, inputs=("model",), outputs=("output",), settings=False)
    add_data_arguments(arguments)
    add_extraction_arguments(arguments)
    args = arguments.parse_args()
    runtime = runtime_from(args)
    model, corpus = load_model(args.model), PackedCorpus(args.manifest, args.audio)
    encoder = runtime.prepared(model.encoder)
    try:
        embeddings = extract_embeddings(
            encoder, model.log_mel, corpus, runtime, lambda batches, total: progress(batches, total, "extract", "batch")
        )
    except FloatingPointError as error:
        raise InputError(f"{args.model}: {error}; train it again") from None
    write_embeddings(args.output, corpus.utterances, embeddings)


if __name__ == "__main__":
    run(main)
