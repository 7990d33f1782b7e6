"""Embeddings of all faces, one per utterance."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn

from selfsv.data.face_augment import FaceInput
from selfsv.data.faces import PackedFaces
from selfsv.engine.runtime import Runtime
from selfsv.parallel import ordered_map

FACES_PER_BATCH = {"cpu": 64, "cuda": 1024}
Progress = Callable[[Iterable[np.ndarray], int], Iterable[np.ndarray]]


def unwatched(batches: Iterable[np.ndarray], _: int) -> Iterable[np.ndarray]:
    """No progress bar."""
    return batches


@torch.inference_mode()
def extract_face_embeddings(
    encoder: nn.Module, face_input: FaceInput, faces: PackedFaces, runtime: Runtime, threads: int, progress: Progress = unwatched
) -> np.ndarray:
    """[N, F] float32: of every utterance the mean over its faces' embeddings, each of length 1 before [ours]; NaN without a face.

    Args:
        threads: that decode images.
        progress: wraps the iterable of batches, given their number.

    Raises:
        FloatingPointError: an embedding is not finite.
    """
    training = encoder.training
    encoder.eval()
    owner = np.repeat(np.arange(len(faces)), faces.count)
    places = np.stack([owner, np.arange(len(owner)) - np.repeat(np.cumsum(faces.count) - faces.count, faces.count)], axis=1)
    size = FACES_PER_BATCH[runtime.device.type]
    batches = [places[start : start + size] for start in range(0, len(places), size)]
    sums: np.ndarray | None = None
    for batch in progress(batches, len(batches)):
        images = np.stack(list(ordered_map(lambda place: faces.image(*place), batch, threads)))
        with runtime.autocast():
            units = nn.functional.normalize(encoder(face_input(torch.from_numpy(images))).float(), dim=1).cpu().numpy()
        sums = np.zeros((len(faces), units.shape[1]), dtype=np.float32) if sums is None else sums
        np.add.at(sums, batch[:, 0], units)
    encoder.train(training)
    if sums is None or not np.isfinite(sums).all():
        raise FloatingPointError("the encoder gives embeddings that are not finite")
    return np.where(faces.count[:, None] > 0, sums / np.maximum(faces.count, 1)[:, None], np.nan).astype(np.float32)
