"""Small videos with known content."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from selfsv.prepare.face_detection import FaceDetector
from selfsv.settings.faces import DetectionSettings


def write_video(path: Path, frames: Iterable[np.ndarray], rate: int, sound: np.ndarray | None = None) -> Path:
    """An H.264 video of [H, W, 3] frames, with 16 kHz int16 sound where given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as media:
        video = None
        audio = media.add_stream("aac", rate=16000, layout="mono") if sound is not None else None
        for image in frames:
            if video is None:
                video = media.add_stream("libx264", rate=Fraction(rate), options={"preset": "ultrafast", "crf": "12", "threads": "1"})
                video.height, video.width, video.pix_fmt = *image.shape[:2], "yuv420p"
            media.mux(video.encode(av.VideoFrame.from_ndarray(image)))
        if video is not None:
            media.mux(video.encode())
        if audio is not None and sound is not None:
            frame = av.AudioFrame.from_ndarray(sound[None].astype(np.int16), format="s16", layout="mono")
            frame.rate = 16000
            media.mux(audio.encode(frame))
            media.mux(audio.encode())
    return path


@pytest.fixture(scope="session")
def detector() -> FaceDetector:
    return FaceDetector(DetectionSettings(), torch.device("cpu"))
