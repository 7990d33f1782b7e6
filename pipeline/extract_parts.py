"""Rule `extract_parts`: embeddings of the first and the last third of some recordings of the training corpus by one model."""

import logging

import numpy as np
import pyarrow as pa

from selfsv.artifacts import write_table
from selfsv.data.corpus import PackedCorpus
from selfsv.diagnosis.recording_parts import RecordingParts, chosen_recordings
from selfsv.engine.extraction import embeddings_by
from selfsv.engine.runtime import add_data_arguments, add_extraction_arguments, runtime_from
from selfsv.models.model_file import load_model
from selfsv.stage import parser, run

LOG = logging.getLogger("selfsv")


def main() -> None:
    """Extract and write."""
    arguments = parser(__doc__, inputs=("model",), outputs=("output",), settings=False)
    add_data_arguments(arguments)
    add_extraction_arguments(arguments)
    args = arguments.parse_args()
    runtime = runtime_from(args)
    model, corpus = load_model(args.model), PackedCorpus(args.manifest, args.audio)
    parts = RecordingParts(corpus, chosen_recordings(corpus.num_samples))
    if not len(parts.part):
        LOG.warning("no recording is long enough to be compared with itself: there is no error rate on parts of recordings")
    embeddings = embeddings_by(args.model, model, parts, runtime, "extract parts")
    write_table(args.output, part_table(corpus.utterances[parts.recording], parts.part, embeddings))


def part_table(utterances: np.ndarray, part: np.ndarray, embeddings: np.ndarray) -> pa.Table:
    """The rows of `part_embeddings.parquet`; with no rows, the embeddings have one dimension."""
    flat = pa.array(embeddings.astype(np.float32).reshape(-1))
    lists = pa.FixedSizeListArray.from_arrays(flat, max(embeddings.shape[1], 1))
    return pa.table({"utterance": pa.array(utterances, pa.string()), "part": pa.array(part, pa.int8()), "embedding": lists})


if __name__ == "__main__":
    run(main)
