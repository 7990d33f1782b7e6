"""Rule `baseline`: the systems that training must beat, as model files that nothing was learnt for."""

from selfsv.models.encoders import untrained
from selfsv.models.model_file import save_model
from selfsv.settings.jobs import BaselineJob
from selfsv.stage import parser, run


def main() -> None:
    """Write the model of fbank statistics or of an untrained encoder."""
    made = parser(__doc__, outputs=("model",))
    made.add_argument("--kind", choices=["fbank", "untrained"], required=True)
    args = made.parse_args()
    job = BaselineJob.read(args.settings)
    if args.kind == "fbank":
        # A mean over time would be zero after mean normalisation.
        features = job.features.model_copy(update={"mean_normalise": False})
        save_model(args.model, None, features, {}, stage="baseline", kind=args.kind)
    else:
        weights = untrained(job.encoder, job.features.mel_bins, job.seed, 0).state_dict()
        save_model(args.model, job.encoder, job.features, weights, stage="baseline", kind=args.kind, seed=job.seed)


if __name__ == "__main__":
    run(main)
