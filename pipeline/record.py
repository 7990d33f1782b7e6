"""Rule `record`: the settings that an experiment was made with, in its own folder, for whoever opens it later."""

import json

from selfsv.artifacts import write_text
from selfsv.settings.experiment import Experiment
from selfsv.stage import parser, run


def main() -> None:
    """Write all settings, defaults included."""
    args = parser(__doc__, outputs=("output",)).parse_args()
    write_text(args.output, json.dumps(Experiment.read(args.settings).model_dump(mode="json"), indent=2) + "\n")


if __name__ == "__main__":
    run(main)
