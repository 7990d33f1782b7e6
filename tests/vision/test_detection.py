"""Detection on photographs: one face, two faces, none, in frames of mixed sizes."""

import numpy as np
from PIL import Image

from tests.conftest import orl_face


def scene(size: tuple[int, int], *faces: tuple[int, int, int]) -> np.ndarray:
    """A grey frame of (width, height) with people pasted in: (person, left, top)."""
    canvas = Image.new("RGB", size, (110, 110, 110))
    for person, left, top in faces:
        canvas.paste(orl_face(person, 1).resize((138, 168)), (left, top))
    return np.asarray(canvas)


def test_faces_are_found_where_they_are(detector):
    frames = [scene((224, 224), (5, 40, 30)), scene((480, 270), (5, 20, 50), (12, 300, 60)), scene((224, 224)), scene((20, 20))]
    found = detector(frames)
    assert [len(faces.probability) for faces in found] == [1, 2, 0, 0]
    for left, faces in ((40, found[0]),):
        eyes, nose, mouth = faces.landmarks[0, :2], faces.landmarks[0, 2], faces.landmarks[0, 3:]
        assert eyes[0, 0] < nose[0] < eyes[1, 0] and eyes[:, 1].max() < nose[1] < mouth[:, 1].min()
        assert left < faces.boxes[0, :3:2].mean() < left + 138
    centres = sorted(found[1].boxes[:, ::2].mean(axis=1))
    assert 20 < centres[0] < 158 and 300 < centres[1] < 438


def test_a_frame_is_seen_the_same_alone_and_in_a_batch(detector):
    frames = [scene((224, 224), (person, 40, 30)) for person in (5, 6, 7)]
    for alone, together in zip((detector([frame])[0] for frame in frames), detector(frames), strict=True):
        np.testing.assert_allclose(alone.landmarks, together.landmarks, atol=0.05)
