"""Rule `derive`: settings that follow the packed training corpus, for `recipe: adaptive`. No label is read, and no listing.

python -m pipeline.derive --settings '{"utterances_per_speaker": 20, "epochs": 40, "round_epochs": 30, "batch_size": null,
    "round_batch_size": null, "own": []}' --manifest data/train/manifest.parquet --output data/train/derived.yaml
"""

import logging

import numpy as np

from selfsv.artifacts import read_table, write_text
from selfsv.prepare.adaptive import derived_file
from selfsv.prepare.decoding import RATE
from selfsv.settings.jobs import DeriveJob
from selfsv.stage import parser, run

LOG = logging.getLogger("selfsv")


def main() -> None:
    """Count, derive, write."""
    args = parser(__doc__, inputs=("manifest",), outputs=("output",)).parse_args()
    manifest = read_table(args.manifest, ["num_samples", "status"])
    seconds = manifest["num_samples"][manifest["status"] == "ok"].to_numpy(np.float64) / RATE
    text = derived_file(len(seconds), seconds, DeriveJob.read(args.settings))
    write_text(args.output, text)
    LOG.info("%s:\n%s", args.output, text)


if __name__ == "__main__":
    run(main)
