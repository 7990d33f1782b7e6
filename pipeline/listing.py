"""List the audio files of a corpus and divide them into shards.

    python -m pipeline.listing --settings '{"layout": "voxceleb", "path": "demo/speech/dev/wav"}' --shards 4 \\
        --listing data/train/listing.parquet --speakers data/train/speakers.parquet --left-out data/train/left_out.parquet
"""

import logging

import pandas as pd

from selfsv.artifacts import write_table
from selfsv.prepare.listing import assign_shards, enumerate_corpus
from selfsv.prepare.speed_copies import with_speed_copies
from selfsv.settings.data import Corpus
from selfsv.stage import parser, run

LOG = logging.getLogger("selfsv")


def main() -> None:
    """Parse, enumerate, write."""
    arguments = parser(__doc__, outputs=("listing", "speakers", "left_out"))
    arguments.add_argument("--shards", type=int, required=True, help="pack jobs to divide the corpus into")
    args = arguments.parse_args()
    corpus = Corpus.read(args.settings)
    files = with_speed_copies(enumerate_corpus(corpus), corpus.speeds)
    utterances = files.utterances.assign(shard=assign_shards(len(files.utterances), args.shards))
    left_out = pd.DataFrame(files.left_out.most_common(), columns=["ending", "files"]).astype({"ending": str, "files": "int64"})
    write_table(args.left_out, left_out)
    write_table(args.speakers, files.speakers)
    write_table(args.listing, utterances)
    LOG.info("%d files, %d with a known speaker, %d shards", len(utterances), len(files.speakers), args.shards)


if __name__ == "__main__":
    run(main)
