"""Aligned faces as bytes."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

JPEG_QUALITY = 95
SIZE = (96, 112)  # width and height of an aligned face, pixels


def encoded(image: Pixels) -> bytes:
    """[112, 96, 3] as a JPEG, without subsampling of colours."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def decoded(image: bytes) -> Pixels:
    """The pixels [112, 96, 3] of a JPEG.

    Raises:
        ValueError: it is no JPEG of this size; nothing of another size is decoded.
    """
    try:
        opened = Image.open(io.BytesIO(image), formats=["JPEG"])
        if opened.size != SIZE:
            raise ValueError(f"{opened.width} × {opened.height} pixels instead of {SIZE[0]} × {SIZE[1]}")
        return np.asarray(opened.convert("RGB"))
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"no JPEG ({error})") from None
