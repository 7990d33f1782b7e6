"""Batches of voices and faces."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from selfsv.data.batches import BatchIndices, Crops, TrainBatch, TrainCrops, generator
from selfsv.data.face_augment import FaceAugmentationParams, draw_params
from selfsv.data.faces import PackedFaces
from selfsv.settings.faces import FaceAugmentationSettings

FACE_DRAWS = 2**15  # added to the stage: the draws of faces are others than those of crops


class FacePairs(NamedTuple):
    """Two faces of each of M of a batch's B utterances, those that have any: one stays clean, one is to be augmented."""

    rows: Tensor  # [M] int64, places in the batch
    clean: Tensor  # [M, 112, 96, 3] uint8
    augmented: Tensor  # [M, 112, 96, 3] uint8
    params: FaceAugmentationParams  # each field [M]


class AudioVisualBatch(NamedTuple):
    """A batch of audio-visual DLG-LC."""

    utterances: Tensor  # [B] int64
    clean: Crops
    augmented: Crops
    faces: FacePairs


class AudioVisualCrops(Dataset):
    """Two segments of each voice, and two faces from different frames where there are two. Indexed by a `BatchIndices`.

    The segments are those that `crops` gives without faces.
    """

    def __init__(self, crops: TrainCrops, faces: PackedFaces, settings: FaceAugmentationSettings, seed: int, stage: int):
        self._crops, self._faces, self._settings, self._seed, self._stage = crops, faces, settings, seed, stage

    def __getitem__(self, indices: BatchIndices) -> AudioVisualBatch:
        voices: TrainBatch = self._crops[indices]
        rows = np.flatnonzero(self._faces.count[indices.utterances] > 0)
        pairs = [self._pair(indices.epoch, int(indices.utterances[row])) for row in rows]
        return AudioVisualBatch(voices.utterances, voices.clean, voices.augmented, self._stacked(rows, pairs))

    def _pair(self, epoch: int, utterance: int) -> tuple[np.ndarray, np.ndarray, tuple[np.generic, ...]]:
        """The clean face, the one to augment, and its params."""
        rng = generator(self._seed, FACE_DRAWS + self._stage, epoch, utterance)
        count = self._faces.count[utterance]
        first, second = rng.choice(count, 2, replace=count < 2)
        return self._faces.image(utterance, first), self._faces.image(utterance, second), draw_params(rng, self._settings)

    def _stacked(self, rows: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray, tuple[np.generic, ...]]]) -> FacePairs:
        """The pairs as tensors: of a batch without faces, empty ones of the same kinds."""
        stand_in = np.zeros((112, 96, 3), np.uint8)
        clean, augmented, params = zip(*pairs or [(stand_in, stand_in, draw_params(np.random.default_rng(0), self._settings))], strict=True)
        fields = (torch.from_numpy(np.stack(field))[: len(rows)] for field in zip(*params, strict=True))
        images = [torch.from_numpy(np.stack(part))[: len(rows)] for part in (clean, augmented)]
        return FacePairs(torch.from_numpy(rows), images[0], images[1], FaceAugmentationParams(*fields))
