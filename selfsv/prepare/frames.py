"""Frames of a video at a fixed rate (paper V-C2: one per second)."""

import os
from collections.abc import Iterator
from typing import NamedTuple

import av
import numpy as np
from PIL import Image

from selfsv.data.face_images import Pixels
from selfsv.prepare.containers import RejectionError, container_of, opened, truncated

VIDEO_CONTAINERS = ("mp4", "matroska", "avi", "asf", "flv", "mpeg")
MOST_PIXELS = 1 << 26  # of a frame: twice an 8K video; a small file may announce far more
MOST_FRAMES = 300  # per video: of a longer one frames are taken more sparsely, so that memory stays bounded
SECONDS_MISSING = 1.0  # by which the frames may fall short of the header


class Frame(NamedTuple):
    """One frame of a video."""

    time_s: float  # from the first frame
    image: Pixels  # [H, W, 3] RGB


def read_frames(path: str, frames_per_second: float, longest_side: int) -> list[Frame]:
    """Frames of the video at `path`, the first one at its beginning.

    Args:
        frames_per_second: how many; fewer where there would be more than `MOST_FRAMES`.
        longest_side: larger frames are reduced to this, pixels. Faces are detected in and cut from the reduced frames: 300 whole
            frames of a 4K video would take 7 GB.

    Raises:
        RejectionError: the file is missing, empty, no video, damaged or truncated.
    """
    container = container_of(os.path.abspath(path))
    if container not in VIDEO_CONTAINERS:
        raise RejectionError("no video: not an MP4, MOV, MKV, WebM, AVI, WMV, FLV or MPEG file")
    try:
        with opened(path, container) as media:
            if not media.streams.video:
                raise RejectionError("no video: the file has no video stream")
            return _decoded(media, media.streams.video[0], frames_per_second, longest_side)
    except (av.FFmpegError, ValueError) as error:
        raise RejectionError(f"damaged: {getattr(error, 'strerror', None) or error}") from None


def _decoded(media: av.container.InputContainer, stream: av.VideoStream, rate: float, longest_side: int) -> list[Frame]:
    promised = _seconds(media, stream)
    rate = min(rate, MOST_FRAMES / promised) if promised else rate
    frames: list[Frame] = []
    last = 0.0
    for last, frame in _timed(media, stream):
        if last * rate >= len(frames) and len(frames) < MOST_FRAMES:
            frames.append(Frame(last, reduced(_upright(frame), longest_side)))
    if not frames:
        raise RejectionError("empty: the video has no frames")
    if promised - last > SECONDS_MISSING + 1 / float(stream.average_rate or 1):
        raise RejectionError(truncated(promised, last))
    return frames


def _timed(media: av.container.InputContainer, stream: av.VideoStream) -> Iterator[tuple[float, av.VideoFrame]]:
    """Frames with their times from the first one on, seconds; a frame without a time of its own follows the one before at the mean rate."""
    stream.thread_type = "NONE"  # files are read side by side; more threads for each would only get in each other's way
    step = 1 / float(stream.average_rate or 25)
    start, time = None, -step
    for frame in media.decode(stream):
        time = frame.time if frame.time is not None else time + step
        start = time if start is None else start
        yield time - start, frame


def _seconds(media: av.container.InputContainer, stream: av.VideoStream) -> float:
    """The video's duration by its header; 0 where that does not say."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return media.duration / av.time_base if media.duration and not media.streams.audio else 0.0


def _upright(frame: av.VideoFrame) -> Pixels:
    """[H, W, 3] RGB, turned as the file asks: telephones film lying down and note the rotation."""
    if frame.width * frame.height > MOST_PIXELS:
        raise RejectionError(f"too large: frames of {frame.width} × {frame.height} pixels")
    quarters = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), quarters))


def reduced(image: Pixels, longest_side: int) -> Pixels:
    """[H, W, 3], made smaller so that no side exceeds `longest_side`; smaller ones stay as they are."""
    scale = longest_side / max(image.shape[:2])
    if scale >= 1:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX, reducing_gap=2.0))
