"""Decode one shard of a corpus and pack its audio, long recordings cut into utterances where the settings say so.

    python -m pipeline.pack --settings '{}' --listing data/train/listing.parquet --shard 0 --threads 2 \\
        --audio data/train/audio-0.pt --manifest data/train/manifest-0.parquet
"""

import logging

from selfsv.artifacts import read_table, write_table
from selfsv.prepare.packing import decoded_pieces, manifest_of, write_pieces
from selfsv.progress import progress
from selfsv.settings.jobs import PackJob
from selfsv.stage import parser, run

LOG = logging.getLogger("selfsv")


def main() -> None:
    """Parse, decode, write."""
    arguments = parser(__doc__, inputs=("listing",), outputs=("audio", "manifest"))
    arguments.add_argument("--shard", type=int, required=True, help="number of the shard, from 0")
    arguments.add_argument("--threads", type=int, default=1, help="threads that decode; the result is the same for any number")
    args = arguments.parse_args()
    settings = PackJob.read(args.settings)
    listing = read_table(args.listing, ["utterance", "path", "session", "reason", "channel", "speed", "shard"])
    listing = listing[listing["shard"] == args.shard]
    recordings = decoded_pieces(listing, settings, settings.cut, args.threads)
    utterances, packed = write_pieces(args.audio, listing, progress(recordings, len(listing), f"packing shard {args.shard}", "recording"))
    for path, (_, _, reason) in zip(utterances["path"], packed, strict=True):
        if reason:
            LOG.info("rejected %s: %s", path, reason)
    if settings.cut:
        LOG.info("%d recordings in %d utterances", len(listing), len(utterances))
    write_table(args.manifest, manifest_of(utterances, packed))


if __name__ == "__main__":
    run(main)
