"""Rule `extract_av`: voice and face embeddings of all utterances of the training corpus by the two encoders of one round."""

from pathlib import Path

from selfsv.artifacts import write_embeddings
from selfsv.data.corpus import PackedCorpus
from selfsv.data.face_augment import FaceInput
from selfsv.data.faces import PackedFaces
from selfsv.engine.extraction import extract_embeddings
from selfsv.engine.face_extraction import extract_face_embeddings
from selfsv.engine.runtime import add_data_arguments, add_extraction_arguments, runtime_from
from selfsv.errors import InputError
from selfsv.models.face_model import load_face_model
from selfsv.models.model_file import load_model
from selfsv.progress import progress
from selfsv.stage import parser, run


def main() -> None:
    """Extract and write."""
    arguments = parser(__doc__, inputs=("model", "face_model", "faces"), outputs=("output",), settings=False)
    arguments.add_argument("--images", type=Path, nargs="+", required=True, help="the shards' aligned faces, in order")
    add_data_arguments(arguments)
    add_extraction_arguments(arguments)
    args = arguments.parse_args()
    runtime = runtime_from(args)
    model, (face_encoder, face_settings) = load_model(args.model), load_face_model(args.face_model)
    corpus = PackedCorpus(args.manifest, args.audio)
    faces = PackedFaces(args.faces, args.images, corpus.utterances)
    try:
        voices = extract_embeddings(
            runtime.extracting(model.encoder),
            runtime.with_kernels(model.log_mel),
            corpus,
            runtime,
            lambda batches, total: progress(batches, total, "voices", "batch"),
        )
        looks = extract_face_embeddings(
            runtime.extracting(face_encoder),
            FaceInput(face_settings.input_side, runtime.device),
            faces,
            runtime,
            args.threads,
            lambda batches, total: progress(batches, total, "faces", "batch"),
        )
    except FloatingPointError as error:
        raise InputError(f"{args.model}: {error}; train it again") from None
    write_embeddings(args.output, corpus.utterances, voices, looks)


if __name__ == "__main__":
    run(main)
