"""Rule `baseline`: the systems that training must beat, as model files."""

from pathlib import Path

from selfsv.artifacts import read_embeddings
from selfsv.errors import InputError
from selfsv.models.encoders import untrained
from selfsv.models.fbank_statistics import whitening
from selfsv.models.model_file import save_model
from selfsv.settings.jobs import BaselineJob
from selfsv.stage import parser, run


def main() -> None:
    """Write the model of fbank statistics, as they are or whitened, or of an untrained encoder."""
    made = parser(__doc__, outputs=("model",))
    made.add_argument("--kind", choices=["fbank", "untrained", "whitened"], required=True)
    made.add_argument("--embeddings", type=Path, help="for whitened: the training corpus's fbank statistics, which it is fitted to")
    args = made.parse_args()
    job = BaselineJob.read(args.settings)
    # A mean over time would be zero after mean normalisation.
    features = job.features.model_copy(update={"mean_normalise": False})
    if args.kind == "untrained":
        weights = untrained(job.encoder, job.features.mel_bins, job.seed, 0).state_dict()
        save_model(args.model, job.encoder, job.features, weights, stage="baseline", kind=args.kind, seed=job.seed)
    elif args.kind == "fbank":
        save_model(args.model, None, features, {}, stage="baseline", kind=args.kind)
    elif args.embeddings is None:
        raise InputError("--kind whitened is fitted to the training corpus's fbank statistics: name them with --embeddings")
    else:
        _, embeddings = read_embeddings(args.embeddings)
        save_model(args.model, None, features, whitening(embeddings), stage="baseline", kind=args.kind)


if __name__ == "__main__":
    run(main)
