"""Which face of a frame belongs to the track."""

import numpy as np

from selfsv.prepare.face_detection import NOBODY, Faces
from selfsv.prepare.face_tracks import main_track


def faces(*found: tuple[float, float, float, float]) -> Faces:
    """Faces from (centre x, centre y, side, probability)."""
    boxes = np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2] for x, y, side, _ in found])
    return Faces(boxes, np.array([probability for *_, probability in found]), np.zeros((len(found), 5, 2)))


def test_the_only_face_is_the_track():
    assert main_track([faces((50, 50, 40, 0.99))] * 3) == [0, 0, 0]


def test_no_faces_no_track():
    assert main_track([NOBODY, NOBODY]) == [None, None]
    assert main_track([]) == []


def test_the_larger_of_two_faces_wins_also_where_it_is_less_certain():
    frames = [faces((30, 50, 20, 1.0), (100, 50, 60, 0.93)), faces((101, 51, 61, 0.92), (31, 50, 20, 1.0))]
    assert main_track(frames) == [1, 0]


def test_the_track_is_steady_over_frames():
    """In one frame the neighbour is a little larger: the track stays where it was."""
    steady, neighbour = (40, 50, 40, 0.99), (140, 50, 36, 0.99)
    frames = [faces(steady, neighbour), faces(steady, (140, 50, 44, 0.99)), faces(steady, neighbour)]
    assert main_track(frames) == [0, 0, 0]


def test_a_passer_by_in_one_frame_is_left_out():
    talker = faces((50, 50, 40, 0.99))
    assert main_track([talker, faces((300, 200, 15, 0.95)), talker, NOBODY, talker]) == [0, None, 0, None, 0]


def test_a_face_may_move_and_grow():
    frames = [faces((50 + 8 * step, 50, 40 + 3 * step, 0.98)) for step in range(6)]
    assert main_track(frames) == [0] * 6


def test_it_is_the_best_chain_of_all():
    """Against every possible choice, scored as the docstring says."""
    from itertools import product

    rng = np.random.default_rng(4)
    for _ in range(20):
        frames = [
            faces(*[(rng.uniform(0, 120), rng.uniform(0, 60), rng.uniform(20, 50), rng.uniform(0.9, 1)) for _ in range(2)])
            for _ in range(4)
        ]
        largest = max(np.sqrt(np.prod(box[2:] - box[:2])) for frame in frames for box in frame.boxes)

        def total(choice, frames=frames, largest=largest):
            score, last = 0.0, None
            for frame, pick in zip(frames, choice, strict=True):
                if pick is None:
                    continue
                box = frame.boxes[pick]
                side = np.sqrt(np.prod(box[2:] - box[:2]))
                score += frame.probability[pick] * side / largest
                centre = (box[:2] + box[2:]) / 2
                if last is not None:
                    score -= np.linalg.norm(centre - last[0]) / np.sqrt(side * last[1]) + abs(np.log2(side / last[1]))
                last = centre, side
            return score

        best = max(total(choice) for choice in product((None, 0, 1), repeat=4))
        assert np.isclose(total(main_track(frames)), best)
