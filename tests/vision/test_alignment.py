"""Alignment: the transform against linear least squares, the crop on photographs of known geometry."""

import numpy as np
import pytest
from PIL import Image

from selfsv.prepare.face_alignment import HEIGHT, TEMPLATE, WIDTH, aligned, similarity
from tests.conftest import orl_face

CANVAS = 320
# Rotation in degrees, scale, shift in pixels: what is done to a photograph before it is aligned.
GEOMETRIES = [(0, 1.0, 0, 0), (0, 1.0, 17, -9), (25, 1.0, 0, 0), (-40, 1.2, 10, 5), (10, 0.7, -20, 12), (90, 1.0, 0, 0)]


def least_squares(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The same transform from its four unknowns, by numpy's solver."""
    rows = [row for x, y in source for row in ([x, -y, 1, 0], [y, x, 0, 1])]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), np.asarray(target).ravel(), rcond=None)[0]
    return np.array([[a, -b, tx], [b, a, ty]])


@pytest.mark.parametrize("seed", range(5))
def test_similarity_is_the_least_squares_one(seed):
    rng = np.random.default_rng(seed)
    source, target = rng.normal(scale=50, size=(2, 5, 2))
    np.testing.assert_allclose(similarity(source, target), least_squares(source, target), atol=1e-9)


def test_similarity_never_mirrors():
    mirrored = TEMPLATE * [-1, 1]
    transform = similarity(mirrored, TEMPLATE)
    assert np.linalg.det(transform[:, :2]) > 0


def test_landmarks_in_one_point_are_refused():
    with pytest.raises(ValueError, match="coincide"):
        similarity(np.full((5, 2), 7.0), TEMPLATE)


def test_an_aligned_face_stays_as_it_is():
    photo = np.asarray(orl_face(1, 1).resize((WIDTH, HEIGHT)))
    np.testing.assert_array_equal(aligned(photo, TEMPLATE), photo)


def on_canvas(person: int, photo: int) -> Image.Image:
    """A photograph, twice its size, in the middle of a grey canvas."""
    canvas = Image.new("RGB", (CANVAS, CANVAS), (128, 128, 128))
    face = orl_face(person, photo).resize((184, 224), Image.Resampling.BICUBIC)
    canvas.paste(face, ((CANVAS - 184) // 2, (CANVAS - 224) // 2))
    return canvas


def moved(picture: Image.Image, degrees: float, scale: float, right: float, down: float) -> tuple[Image.Image, np.ndarray]:
    """The picture rotated and scaled about its centre and shifted, and the [2, 3] map of pixel centres that did it."""
    angle, middle = np.deg2rad(degrees), (CANVAS - 1) / 2
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = np.column_stack([turn, np.array([middle + right, middle + down]) - turn @ [middle, middle]])
    backward = np.linalg.inv(np.vstack([forward, [0, 0, 1]]))[:2]
    corners = backward.copy()
    corners[:, 2] += 0.5 - backward[:, :2] @ [0.5, 0.5]
    size = (CANVAS, CANVAS)
    return picture.transform(
        size, Image.Transform.AFFINE, tuple(corners.ravel()), Image.Resampling.BICUBIC, fillcolor=(128, 128, 128)
    ), forward


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference of two crops in grey levels of 256, without their outermost pixels."""
    return float(np.abs(one[4:-4, 4:-4].astype(float) - other[4:-4, 4:-4]).mean())


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("person", [3, 17, 30])
def test_crop_of_a_moved_photograph_is_the_same_given_the_moved_landmarks(person, geometry, detector):
    """What differs is interpolation alone: under 2.5 grey levels where the photograph keeps its size, under 4 at 0.7 of it."""
    picture = on_canvas(person, 1)
    (faces,) = detector([np.asarray(picture)])
    landmarks = faces.landmarks[0]
    turned, forward = moved(picture, *geometry)
    crop = aligned(np.asarray(turned), landmarks @ forward[:, :2].T + forward[:, 2])
    assert difference(crop, aligned(np.asarray(picture), landmarks)) < (2.5 if geometry[1] >= 1 else 4)


@pytest.mark.parametrize("geometry", [(0, 1.0, 17, -9), (12, 1.0, 0, 0), (-12, 1.2, 10, 5), (5, 0.7, -20, 12)])
@pytest.mark.parametrize("person", [3, 17, 30])
def test_crop_of_a_moved_photograph_is_nearly_the_same_when_found_anew(person, geometry, detector):
    """The detector places its landmarks a little differently each time: within 2.5 pixels of the crop on average.

    It was trained on upright faces, and its landmarks drift from about 20 degrees on (5 pixels at 40).
    """
    picture = on_canvas(person, 1)
    turned, forward = moved(picture, *geometry)
    before, after = detector([np.asarray(picture), np.asarray(turned)])
    expected = before.landmarks[0] @ forward[:, :2].T + forward[:, 2]
    to_crop = similarity(expected, TEMPLATE)
    off = (after.landmarks[0] - expected) @ to_crop[:, :2].T
    assert np.linalg.norm(off, axis=1).mean() < 2.5
    crops = [aligned(np.asarray(image), faces.landmarks[0]) for image, faces in ((picture, before), (turned, after))]
    assert np.corrcoef(*(crop[16:, 10:-10].ravel() for crop in crops))[0, 1] > 0.75


def test_a_large_face_does_not_alias(detector):
    """Stripes far finer than the crop's pixels come out as their mean, not as other stripes."""
    size = 1792
    stripes = np.zeros((size, size, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = aligned(stripes, TEMPLATE * 16)
    assert crop[20:-20, 20:-20].std() < 3 and abs(crop[20:-20, 20:-20].mean() - 127.5) < 2
