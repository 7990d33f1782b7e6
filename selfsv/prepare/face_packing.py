"""From the videos of a shard to aligned faces: read, detect, choose the track, align, encode; and the merged tables."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from selfsv.artifacts import check_places, map_shards
from selfsv.data.face_images import encoded
from selfsv.errors import InputError
from selfsv.parallel import ordered_map
from selfsv.prepare.containers import RejectionError
from selfsv.prepare.face_alignment import aligned
from selfsv.prepare.face_detection import FaceDetector, Faces
from selfsv.prepare.face_tracks import main_track
from selfsv.prepare.frames import Frame, read_frames
from selfsv.prepare.listing import count_reasons
from selfsv.settings.faces import DetectionSettings

ROWS_PER_GROUP = 2048  # of faces.parquet, about 10 MB of images: who asks for a few utterances reads little more
EXAMPLES = 10  # rejected videos named in an error message

# A row per face; `image` joins in faces.parquet, the shards have it in their tensors.
FACES = pa.schema(
    [
        ("utterance", pa.string()),
        ("time_s", pa.float64()),
        ("probability", pa.float32()),
        ("landmarks", pa.list_(pa.float32(), 10)),
        ("shard", pa.int64()),
        ("offset", pa.int64()),
        ("num_bytes", pa.int64()),
    ]
)
IMAGE = pa.field("image", pa.binary())
FACE_MANIFEST = pa.schema(
    [
        ("utterance", pa.string()),
        ("path", pa.string()),
        ("frames", pa.int64()),
        ("detected", pa.int64()),
        ("faces", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)


class Face(NamedTuple):
    """One aligned face of a track."""

    time_s: float
    probability: float
    landmarks: np.ndarray  # [5, 2] in the frame, pixels
    image: bytes  # JPEG of [112, 96, 3]


class Track(NamedTuple):
    """The faces of one video."""

    frames: int  # looked at
    detected: int  # of these, with any face
    faces: list[Face]
    reason: str  # why there are no faces; else empty


def tracks(videos: pd.DataFrame, settings: DetectionSettings, detector: FaceDetector, threads: int, batch: int) -> Iterator[Track]:
    """The track of each video, in order. Reading runs ahead on threads; frames of several videos share the detector's batches.

    Args:
        videos: columns `path`, `reason`; rows with a reason are not looked at.
        batch: frames that the detector gets at a time, about.
    """
    rows = zip(videos["path"], videos["reason"], strict=True)
    waiting: list[list[Frame] | str] = []
    for video in ordered_map(partial(_read, settings), rows, threads):
        waiting.append(video)
        if sum(len(frames) for frames in waiting if not isinstance(frames, str)) >= batch:
            yield from _detected(waiting, detector)
            waiting = []
    yield from _detected(waiting, detector)


def _read(settings: DetectionSettings, row: tuple[str, str]) -> list[Frame] | str:
    path, reason = row
    if reason:
        return reason
    try:
        return read_frames(path, settings.frames_per_second, settings.frame_side)
    except RejectionError as rejection:
        return str(rejection)


def _detected(videos: list[list[Frame] | str], detector: FaceDetector) -> Iterator[Track]:
    images = [frame.image for video in videos if not isinstance(video, str) for frame in video]
    detected_faces = iter(detector(images) if images else [])
    for video in videos:
        if isinstance(video, str):
            yield Track(0, 0, [], video)
        else:
            yield track(video, [next(detected_faces) for _ in video])


def track(frames: list[Frame], detected_faces: list[Faces]) -> Track:
    """The aligned faces of one video's main track."""
    detected = sum(len(faces.probability) > 0 for faces in detected_faces)
    chosen = [
        Face(frame.time_s, float(faces.probability[face]), faces.landmarks[face], encoded(aligned(frame.image, faces.landmarks[face])))
        for frame, faces, face in zip(frames, detected_faces, main_track(detected_faces), strict=True)
        if face is not None
    ]
    return Track(len(frames), detected, chosen, "" if chosen else f"no face: none in {len(frames)} frames")


def face_rows(utterance: str, shard: int, faces: list[Face], offsets: list[int]) -> list[dict[str, object]]:
    """Rows of `FACES` for one utterance; `offsets` say where the images are in the shard's tensor."""
    return [
        {
            "utterance": utterance,
            "time_s": face.time_s,
            "probability": face.probability,
            "landmarks": face.landmarks.ravel().tolist(),
            "shard": shard,
            "offset": offset,
            "num_bytes": len(face.image),
        }
        for face, offset in zip(faces, offsets, strict=True)
    ]


def manifest_rows(videos: pd.DataFrame, chosen_tracks: Iterable[Track]) -> pa.Table:
    """A row of `FACE_MANIFEST` per video."""
    rows = [
        {
            "utterance": utterance,
            "path": path,
            "frames": track.frames,
            "detected": track.detected,
            "faces": len(track.faces),
            "status": "rejected" if track.reason else "ok",
            "reason": track.reason,
        }
        for utterance, path, track in zip(videos["utterance"], videos["path"], chosen_tracks, strict=True)
    ]
    return pa.Table.from_pylist(rows, FACE_MANIFEST)


def check_faces(manifest: pd.DataFrame, most: float) -> str:
    """One line on how many utterances have a usable face.

    Args:
        most: fraction that may be without one.

    Raises:
        InputError: there are more, or nobody has one; the message names reasons and videos.
    """
    without = manifest[manifest["status"] == "rejected"]
    summary = f"{len(manifest) - len(without)} of {len(manifest)} utterances have a usable face"
    if not len(without):
        return summary
    summary += "; the others: " + ", ".join(f"{count} {reason}" for reason, count in count_reasons(without["reason"]))
    if len(without) < len(manifest) and len(without) <= most * len(manifest):
        return summary
    names = without["path"].where(without["path"] != "", without["utterance"])
    examples = "".join(f"\n  {name}: {reason}" for name, reason in zip(names[:EXAMPLES], without["reason"], strict=False))
    advice = f"At most {most:.1%} may be without: mend these videos, or raise `faces.max_without_face`"
    raise InputError(f"{summary}. {advice}{examples}")


def with_images(faces: pa.Table, images: Path) -> Iterator[pa.Table]:
    """The rows of one shard, in groups, with their images from its tensor.

    Raises:
        InputError: a row's image is outside of the tensor; the message names the row of the table beside it.
    """
    [memory] = map_shards([images], np.uint8)
    places = faces.select(["offset", "num_bytes"]).to_pandas()
    places.insert(0, "shard", 0)
    check_places(images.with_suffix(".parquet"), [images], [memory], places, "find the faces again")
    for start in range(0, len(faces), ROWS_PER_GROUP):
        rows = faces.slice(start, ROWS_PER_GROUP)
        places = zip(rows["offset"].to_pylist(), rows["num_bytes"].to_pylist(), strict=True)
        yield rows.append_column(IMAGE, [[memory[offset : offset + size].tobytes() for offset, size in places]])
