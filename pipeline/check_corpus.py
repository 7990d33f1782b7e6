"""Rule `check_corpus`: right after its listing, whether the training corpus is large enough for the settings.

    python -m pipeline.check_corpus --settings '{"clusters": {"cluster.clusters": 60}, "batch_sizes": {}, "shards": 4}' \\
        --listing data/train/listing.parquet --output checks/corpus.json

Without it a number of clusters that is too large would be noticed after hours of packing and training.
"""

import json
import logging

from selfsv.artifacts import read_table, write_text
from selfsv.errors import InputError
from selfsv.prepare.corpus_size import doubts, too_few
from selfsv.settings.jobs import CorpusCheck
from selfsv.stage import parser, run

LOG = logging.getLogger("selfsv")


def main() -> None:
    """Count, compare, write."""
    arguments = parser(__doc__, inputs=("listing",), outputs=("output",))
    arguments.add_argument("--processes", type=int, default=1, help="of a training, which divide its batches among them")
    args = arguments.parse_args()
    check = CorpusCheck.read(args.settings)
    utterances = int((read_table(args.listing, ["reason"])["reason"] == "").sum())
    for warning in doubts(utterances, check):
        LOG.warning("%s", warning)
    if problems := too_few(utterances, check, args.processes):
        head = f"the training corpus has {utterances} utterances, too few for these settings:"
        raise InputError("\n  ".join([head, *problems, "demo/config.yaml and docs/corpus-size.md say what becomes of the others"]))
    write_text(args.output, json.dumps({"utterances": utterances}) + "\n")


if __name__ == "__main__":
    run(main)
