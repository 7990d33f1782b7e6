"""Aligned faces as bytes."""

import io

import numpy as np
from PIL import Image

from pipeline.vision.frames import Pixels

JPEG_QUALITY = 95


def encoded(image: Pixels) -> bytes:
    """[112, 96, 3] as a JPEG, without subsampling of colours."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def decoded(image: bytes) -> Pixels:
    """The pixels [112, 96, 3] of a JPEG."""
    return np.asarray(Image.open(io.BytesIO(image), formats=["JPEG"]).convert("RGB"))
