"""Which of the faces in a video is the one that the track is about: large, certain, and steady over frames."""

from collections.abc import Sequence

import numpy as np

from selfsv.prepare.face_detection import Faces

# A face that moved by its own width between two frames costs as much as a perfect face is worth; see `main_track`.
JUMP_COST = 1.0
MOST_GAP = 5  # frames a track may bridge without a face


def main_track(frames: Sequence[Faces]) -> list[int | None]:
    """The face of each frame that belongs to the track, or None.

    The track is the chain of faces, at most one per frame, of the greatest total: each face counts its probability times
    its size relative to the largest face of the video, less the jump from the face before. So a passer-by of one frame or a
    second, smaller talker is left out even where he is detected with more certainty for a moment. Found by dynamic programming.

    Args:
        frames: the faces found in each frame, in order.
    """
    nodes = [(frame, face) for frame, faces in enumerate(frames) for face in range(len(faces.probability))]
    if not nodes:
        return [None] * len(frames)
    boxes = np.stack([frames[frame].boxes[face] for frame, face in nodes])
    probability = np.array([frames[frame].probability[face] for frame, face in nodes])
    when = np.array([frame for frame, _ in nodes])
    sizes = np.sqrt(np.maximum(boxes[:, 2] - boxes[:, 0], 1) * np.maximum(boxes[:, 3] - boxes[:, 1], 1))
    best = probability * sizes / sizes.max()
    before = np.full(len(nodes), -1)
    for node in range(len(nodes)):
        earlier = np.flatnonzero((when < when[node]) & (when >= when[node] - MOST_GAP))
        if len(earlier):
            totals = best[earlier] - JUMP_COST * _jumps(boxes, sizes, earlier, node)
            if totals.max() > 0:
                before[node] = earlier[totals.argmax()]
                best[node] += totals.max()
    chosen: list[int | None] = [None] * len(frames)
    node = int(best.argmax())
    while node >= 0:
        frame, face = nodes[node]
        chosen[frame] = face
        node = int(before[node])
    return chosen


def _jumps(boxes: np.ndarray, sizes: np.ndarray, earlier: np.ndarray, node: int) -> np.ndarray:
    """Distance of the face `node` from each of `earlier`: shift of the centre in face sizes, plus change of size in octaves."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    shift = np.linalg.norm(centres[earlier] - centres[node], axis=1) / np.sqrt(sizes[earlier] * sizes[node])
    return shift + np.abs(np.log2(sizes[earlier] / sizes[node]))
