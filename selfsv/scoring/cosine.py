"""Cosine scores of trials."""

import numpy as np

CHUNK = 1 << 16


def unit_length(embeddings: np.ndarray, mean: np.ndarray | None = None) -> np.ndarray:
    """Embeddings with `mean` subtracted and scaled to length 1.

    Args:
        embeddings: [N, D].
        mean: [D], the training corpus's mean embedding (the test data's own would use the other trials); None: none.

    Returns:
        [N, D] float32; an embedding that equals the mean stays zero, so that it scores 0 against everything.
    """
    centred = embeddings.astype(np.float32) if mean is None else (embeddings - mean).astype(np.float32)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(norms > 0, norms, 1)


def cosine_scores(embeddings: np.ndarray, enroll: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Cosine of each trial's two embeddings.

    Args:
        embeddings: [U, D], of unit length.
        enroll: [N] positions of the enrolment utterances in `embeddings`.
        test: [N] positions of the test utterances.

    Returns:
        [N] float32.
    """
    scores = np.empty(len(enroll), dtype=np.float32)
    for start in range(0, len(enroll), CHUNK):  # a list's embeddings, gathered all at once, would not fit in memory
        chunk = slice(start, start + CHUNK)
        scores[chunk] = np.einsum("nd,nd->n", embeddings[enroll[chunk]], embeddings[test[chunk]])
    return scores
