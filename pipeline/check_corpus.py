"""Rule `check_corpus`: right after its listing, whether the training corpus is large enough for the settings.

    python -m pipeline.check_corpus --settings '{"clusters": {"cluster.clusters": 60}, "batch_sizes": {}, "shards": 4}' \\
        --listing data/train/listing.parquet --output checks/corpus.json

Without it a number of clusters that is too large would be noticed after hours of packing and training.
"""

import json
import logging

from selfsv.artifacts import read_table, write_text
from selfsv.errors import InputError
from selfsv.settings.jobs import CorpusCheck
from selfsv.stage import parser, run

LOG = logging.getLogger("selfsv")
LEAST = 2  # BatchNorm needs two items
FILES_PER_SHARD = 50_000  # with more than these the pack jobs are long, and few


def main() -> None:
    """Count, compare, write."""
    made = parser(__doc__, inputs=("listing",), outputs=("output",))
    made.add_argument("--processes", type=int, default=1, help="of a training, which divide its batches among them")
    args = made.parse_args()
    check = CorpusCheck.read(args.settings)
    utterances = int((read_table(args.listing, ["reason"])["reason"] == "").sum())
    for warning in doubts(utterances, check):
        LOG.warning("%s", warning)
    if problems := too_few(utterances, check, args.processes):
        head = f"the training corpus has {utterances} utterances, too few for these settings:"
        raise InputError("\n  ".join([head, *problems, "demo/config.yaml and docs/corpus-size.md say what becomes of the others"]))
    write_text(args.output, json.dumps({"utterances": utterances}) + "\n")


def too_few(utterances: int, check: CorpusCheck, processes: int) -> list[str]:
    """List the settings that so many utterances cannot serve: each with its key, and with a value that works."""
    problems = [
        f"config key '{key}' is {clusters}: lower it to {utterances} at most; 1.25 to 4 for each speaker you expect do well"
        for key, clusters in check.clusters.items()
        if clusters > utterances
    ]
    if utterances < max(LEAST, processes):
        need = f"{processes} processes train together ('runtime.gpus' times 'runtime.nodes')" if processes > LEAST else "a batch needs two"
        problems.append(f"{need}: lower their number, or add recordings")
    return problems


def doubts(utterances: int, check: CorpusCheck) -> list[str]:
    """List the settings that work with so many utterances, but are hardly meant."""
    warnings = [
        f"config key '{key}' is {size}, but the training corpus has only {utterances} utterances: every epoch is a single update. "
        f"At most a fortieth, {max(LEAST, utterances // 40)}, does well"
        for key, size in check.batch_sizes.items()
        if size > utterances
    ]
    if utterances > FILES_PER_SHARD * check.shards:
        wanted = -(-utterances // (FILES_PER_SHARD // 2))
        warnings.append(
            f"config key 'pack.shards' is {check.shards} for {utterances} files: packing has no more jobs than that. About {wanted} do well"
        )
    return warnings


if __name__ == "__main__":
    run(main)
