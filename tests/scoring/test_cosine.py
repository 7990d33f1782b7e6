"""Cosine scores over several chunks against torch, and an embedding that equals the mean."""

import numpy as np
import torch

from selfsv.scoring import cosine
from selfsv.scoring.cosine import cosine_scores, unit_length


def drawn(count: int = 50, dimensions: int = 192) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, dimensions)).astype(np.float32)


def test_chunks_make_no_difference_to_torchs_cosines(monkeypatch):
    monkeypatch.setattr(cosine, "CHUNK", 7)  # several chunks, the last one not full
    embeddings = drawn()
    enroll, test = np.random.default_rng(1).integers(0, 50, (2, 200))
    scores = cosine_scores(unit_length(embeddings), enroll, test)
    sides = torch.from_numpy(embeddings[enroll]), torch.from_numpy(embeddings[test])
    np.testing.assert_allclose(scores, torch.cosine_similarity(*sides).numpy(), atol=1e-6)
    assert scores.dtype == np.float32


def test_an_embedding_at_the_mean_scores_zero():
    units = unit_length(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 2.0]))
    assert cosine_scores(units, np.array([0, 0]), np.array([0, 1])).tolist() == [0, 0]
