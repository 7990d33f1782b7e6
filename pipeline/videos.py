"""Find the video of every utterance of a corpus.

    python -m pipeline.videos --settings '{"layout": "voxceleb", "path": "VoxCeleb2/dev/aac", "video": "VoxCeleb2/dev/mp4"}' \\
        --listing data/train/listing.parquet --videos data/train/videos.parquet
"""

import logging

from selfsv.artifacts import read_table, write_table
from selfsv.prepare.videos import find_videos
from selfsv.settings.data import Corpus
from selfsv.stage import parser, run

LOG = logging.getLogger("selfsv")


def main() -> None:
    """Parse, match, write. A video gets the shard of its utterance's audio."""
    args = parser(__doc__, inputs=("listing",), outputs=("videos",)).parse_args()
    listing = read_table(args.listing, ["utterance", "path", "reason", "shard"])
    videos = find_videos(Corpus.read(args.settings), listing)
    write_table(args.videos, videos.assign(shard=listing["shard"]))
    LOG.info("%d of %d utterances have a video", (videos["path"] != "").sum(), len(videos))


if __name__ == "__main__":
    run(main)
