"""Faces brought into one position by a similarity transform on five landmarks (paper V-C2)."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 112, 96  # of an aligned face, pixels

# Where the eyes (left and right of the image), the tip of the nose and the corners of the mouth belong: the template of
# SphereFace (Liu et al., 2017) for 112 x 96, which the field has used since. x to the right, y down, pixels.
TEMPLATE = np.array(
    [[30.2946, 51.6963], [65.5318, 51.5014], [48.0252, 71.7366], [33.5493, 92.3655], [62.7299, 92.2041]],
)

SMALLEST_SPAN = 1e-6  # landmarks closer together than this are one point, pixels

Affine = NDArray[np.float64]  # [2, 3]


def similarity(source: NDArray[np.floating], target: NDArray[np.floating]) -> Affine:
    """The rotation, uniform scale and shift that bring `source` as near to `target` as can be, least squares.

    As complex numbers points are rotated and scaled by one factor and moved by one summand: z -> a z + b, whose least
    squares solution is closed. A reflection cannot come out.

    Args:
        source, target: [n, 2] points (x, y), n >= 2.

    Returns:
        [2, 3]; a point p goes to M[:, :2] @ p + M[:, 2].

    Raises:
        ValueError: all source points are the same.
    """
    z, w = (np.asarray(points, dtype=np.float64) @ [1, 1j] for points in (source, target))
    centred = z - z.mean()
    spread = np.vdot(centred, centred).real
    if spread < SMALLEST_SPAN**2:
        raise ValueError("all landmarks coincide")
    a = np.vdot(centred, w - w.mean()) / spread
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def aligned(image: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The face with the given landmarks, upright and of one size.

    Args:
        image: [H, W, 3] RGB.
        landmarks: [5, 2] in the template's order, (x, y) in pixels; the centre of the first pixel is (0, 0).

    Returns:
        [112, 96, 3]; what is outside the image is black.
    """
    transform = similarity(landmarks, TEMPLATE)
    scale = float(np.hypot(*transform[:, 0]))
    picture = Image.fromarray(image)
    shrink = int(1 / scale) if scale > 0 else 1
    if shrink >= 2:
        # Bicubic sampling looks at 4 x 4 pixels: a face much larger than the template is reduced first, or it would alias.
        picture = picture.reduce(shrink)
        transform = similarity((np.asarray(landmarks) + 0.5) / shrink - 0.5, TEMPLATE)
    # Pillow wants the map from target to source, of pixel corners instead of centres.
    inverse = np.linalg.inv(np.vstack([_of_corners(transform), [0, 0, 1]]))[:2]
    coefficients = tuple(inverse.ravel().tolist())
    return np.asarray(picture.transform((WIDTH, HEIGHT), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC))


def _of_corners(transform: Affine) -> Affine:
    """The same transform where the centre of the first pixel is (0.5, 0.5)."""
    moved = transform.copy()
    moved[:, 2] += 0.5 - transform[:, :2] @ [0.5, 0.5]
    return moved
