"""Rule `ivector`: stage I without gradients, from packed audio to an i-vector extractor."""

from selfsv.artifacts import content_hash
from selfsv.data.corpus import PackedCorpus
from selfsv.engine.runtime import add_data_arguments, add_extraction_arguments, runtime_from
from selfsv.methods.ivector import train_ivector
from selfsv.models.model_file import save_model
from selfsv.settings.jobs import IvectorJob
from selfsv.stage import parser, run


def main() -> None:
    """Train, then write the model."""
    arguments = parser(__doc__, outputs=("model",))
    add_data_arguments(arguments)
    add_extraction_arguments(arguments)
    args = arguments.parse_args()
    job, runtime = IvectorJob.read(args.settings), runtime_from(args)
    extractor = train_ivector(job, PackedCorpus(args.manifest, args.audio), runtime)
    provenance = {"stage": "ivector", "iteration": 0, "seed": job.seed, "config_hash": content_hash([args.manifest], job.to_json())}
    provenance |= runtime.provenance() | {"precision": "float32"}
    save_model(args.model, extractor.settings, job.features, extractor.state_dict(), **provenance)


if __name__ == "__main__":
    run(main)
