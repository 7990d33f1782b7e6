"""Rule `extract`: embeddings of all whole, clean utterances of a corpus by one model."""

from selfsv.artifacts import write_embeddings
from selfsv.data.corpus import PackedCorpus
from selfsv.engine.extraction import embeddings_by
from selfsv.engine.runtime import add_data_arguments, add_extraction_arguments, runtime_from
from selfsv.models.model_file import load_model
from selfsv.stage import parser, run


def main() -> None:
    """Extract and write."""
    arguments = parser(__doc__, inputs=("model",), outputs=("output",), settings=False)
    add_data_arguments(arguments)
    add_extraction_arguments(arguments)
    args = arguments.parse_args()
    runtime = runtime_from(args)
    model, corpus = load_model(args.model), PackedCorpus(args.manifest, args.audio)
    embeddings = embeddings_by(args.model, model, corpus, runtime, "extract")
    write_embeddings(args.output, corpus.utterances, embeddings)


if __name__ == "__main__":
    run(main)
