"""Put the manifests of a corpus's shards together, and stop where too many files were rejected.

    python -m pipeline.manifest --settings '{}' --shards data/train/manifest-0.parquet data/train/manifest-1.parquet \\
        --manifest data/train/manifest.parquet
"""

import logging
from pathlib import Path

from selfsv.artifacts import read_table, write_table
from selfsv.prepare.packing import MANIFEST, check_rejections, merge_manifests
from selfsv.settings.data import RejectionSettings
from selfsv.stage import parser, run

LOG = logging.getLogger("selfsv")


def main() -> None:
    """Parse, merge, check, write."""
    arguments = parser(__doc__, outputs=("manifest",))
    arguments.add_argument("--shards", type=Path, nargs="+", required=True, help="the shards' manifests")
    args = arguments.parse_args()
    manifest = merge_manifests(read_table(path, MANIFEST.names) for path in args.shards)
    LOG.info("%s", check_rejections(manifest.to_pandas(), RejectionSettings.read(args.settings)))
    write_table(args.manifest, manifest)


if __name__ == "__main__":
    run(main)
