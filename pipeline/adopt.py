"""Rule `adopt`: another experiment's CA-DINO as the beginning of this one."""

from selfsv.artifacts import content_hash, load_torch, save_torch
from selfsv.models.model_file import load_model
from selfsv.provenance import code_version
from selfsv.stage import parser, run


def main() -> None:
    """Check that it is a model, then write it with a note of where it was taken from."""
    args = parser(__doc__, inputs=("initial_model",), outputs=("model",), settings=False).parse_args()
    original = load_model(args.initial_model).provenance
    provenance = {"stage": "adopt", "sha256": content_hash([args.initial_model]), "original": original, "code_version": code_version()}
    save_torch(args.model, {**load_torch(args.initial_model), "provenance": provenance})


if __name__ == "__main__":
    run(main)
