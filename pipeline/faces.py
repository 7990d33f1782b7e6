"""Find, align and pack the faces in one shard of a corpus's videos.

    python -m pipeline.faces --settings '{}' --videos data/train/videos.parquet --shard 0 --threads 2 \\
        --images data/train/faces-0.pt --faces data/train/faces-0.parquet --manifest data/train/face_manifest-0.parquet
"""

import logging
from typing import Any

import numpy as np
import pyarrow as pa

from selfsv.artifacts import FlatTensor, read_table, write_table
from selfsv.device import add_device_arguments, device_from
from selfsv.prepare.face_detection import FaceDetector
from selfsv.prepare.face_packing import FACES, Track, face_rows, manifest_rows, tracks
from selfsv.progress import progress
from selfsv.settings.faces import DetectionSettings
from selfsv.stage import parser, run

LOG = logging.getLogger("selfsv")
FRAMES_PER_BATCH = {"cpu": 16, "cuda": 512}


def main() -> None:
    """Parse, find, write."""
    made = parser(__doc__, inputs=("videos",), outputs=("images", "faces", "manifest"))
    made.add_argument("--shard", type=int, required=True, help="number of the shard, from 0")
    add_device_arguments(made)
    args = made.parse_args()
    settings, device = DetectionSettings.read(args.settings), device_from(args)
    videos = read_table(args.videos, ["utterance", "path", "reason", "shard"])
    videos = videos[videos["shard"] == args.shard]
    found = tracks(videos, settings, FaceDetector(settings, device), args.threads, FRAMES_PER_BATCH[device.type])
    kept: list[Track] = []
    rows: list[dict[str, Any]] = []
    with FlatTensor(args.images, np.uint8) as images:
        for utterance, path, track in zip(
            videos["utterance"], videos["path"], progress(found, len(videos), f"faces of shard {args.shard}", "video"), strict=True
        ):
            offsets = [images.append(np.frombuffer(face.image, np.uint8)) for face in track.faces]
            rows += face_rows(utterance, args.shard, track.faces, offsets)
            if track.reason:
                LOG.info("no face for %s (%s): %s", utterance, path, track.reason)
            kept.append(track._replace(faces=[face._replace(image=b"") for face in track.faces]))
    write_table(args.faces, pa.Table.from_pylist(rows, FACES))
    write_table(args.manifest, manifest_rows(videos, kept))


if __name__ == "__main__":
    run(main)
