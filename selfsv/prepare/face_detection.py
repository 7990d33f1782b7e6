"""Faces in frames: MTCNN (Zhang et al., 2016), as facenet-pytorch has it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from facenet_pytorch import MTCNN
from numpy.typing import NDArray

from selfsv.data.face_images import Pixels
from selfsv.settings.faces import DetectionSettings


class Faces(NamedTuple):
    """The faces in one frame."""

    boxes: NDArray[np.float64]  # [n, 4] left, top, right, bottom, pixels
    probability: NDArray[np.float64]  # [n]
    landmarks: NDArray[np.float64]  # [n, 5, 2] eyes, nose, corners of the mouth; (x, y) in pixels


NOBODY = Faces(np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2)))


class FaceDetector:
    """Finds all faces in batches of frames.

    Args:
        device: where the three networks of the cascade run. Their weights come with the package.
    """

    def __init__(self, settings: DetectionSettings, device: torch.device):
        self._smallest, self._least_probability = settings.smallest_face, settings.least_probability
        self._mtcnn = MTCNN(min_face_size=settings.smallest_face, keep_all=True, select_largest=False, device=device).eval()

    def __call__(self, frames: Sequence[Pixels]) -> list[Faces]:
        """The faces in each of `frames` ([H, W, 3] RGB each); frames of one size share a batch."""
        result = [NOBODY] * len(frames)
        shapes = np.array([frame.shape for frame in frames])
        for shape in np.unique(shapes, axis=0):
            rows = np.flatnonzero((shapes == shape).all(axis=1))
            # In a frame smaller than the smallest face the cascade has no scale to look at.
            if shape[:2].min() >= self._smallest:
                for row, faces in zip(rows, self._batch(np.stack([frames[int(row)] for row in rows])), strict=True):
                    result[row] = faces
        return result

    def _batch(self, frames: Pixels) -> list[Faces]:
        """The faces in each of [B, H, W, 3]."""
        boxes, probabilities, landmarks = self._mtcnn.detect(frames, landmarks=True)
        return [self._faces(*result) for result in zip(boxes, probabilities, landmarks, strict=True)]

    def _faces(self, boxes: Any, probability: Any, landmarks: Any) -> Faces:
        if boxes is None:
            return NOBODY
        faces = Faces(*(np.asarray(values, dtype=np.float64) for values in (boxes, probability, landmarks)))
        sure = (faces.probability >= self._least_probability) & np.isfinite(faces.landmarks).all(axis=(1, 2))
        return Faces(*(values[sure] for values in faces))
