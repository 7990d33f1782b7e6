"""Put the faces of a corpus's shards together, and stop where too many utterances are without.

    python -m pipeline.face_manifest --max-without-face 0.1 --faces data/train/faces-0.parquet --images data/train/faces-0.pt \\
        --manifests data/train/face_manifest-0.parquet --table data/train/faces.parquet --manifest data/train/face_manifest.parquet
"""

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from selfsv.artifacts import read_arrow, write_table
from selfsv.prepare.face_packing import FACE_MANIFEST, FACES, IMAGE, ROWS_PER_GROUP, check_faces, with_images
from selfsv.stage import parser, run
from selfsv.writing import write_atomically

LOG = logging.getLogger("selfsv")


def main() -> None:
    """Parse, merge, check, write."""
    arguments = parser(__doc__, outputs=("table", "manifest"), settings=False)
    arguments.add_argument("--max-without-face", type=float, required=True)
    for name in ("faces", "images", "manifests"):
        arguments.add_argument(f"--{name}", type=Path, nargs="+", required=True, help="of the shards, in order")
    args = arguments.parse_args()
    manifest = pa.concat_tables(read_arrow(path, schema=FACE_MANIFEST) for path in args.manifests)
    LOG.info("%s", check_faces(manifest.to_pandas(), args.max_without_face))
    schema = FACES.insert(FACES.get_field_index("shard"), IMAGE)
    # Shards hold contiguous blocks of the sorted utterances, so their faces one after the other are sorted, too. JPEGs do
    # not become smaller by compression.
    codecs = {name: "NONE" if name == IMAGE.name else "snappy" for name in schema.names if name != "landmarks"}

    def write(file: object) -> None:
        with pq.ParquetWriter(file, schema, compression={**codecs, "landmarks.list.element": "snappy"}) as writer:
            for faces, images in zip(args.faces, args.images, strict=True):
                for rows in with_images(read_arrow(faces, schema=FACES), images):
                    writer.write_table(rows.select(schema.names), row_group_size=ROWS_PER_GROUP)

    write_atomically(args.table, write)
    write_table(args.manifest, manifest)


if __name__ == "__main__":
    run(main)
