"""Embeddings are prepared before they are clustered: mean subtraction, whitening, length 1."""

from collections.abc import Iterator

import numpy as np

CHUNK = 1 << 16  # rows at once
SMALLEST_VARIANCE = 1e-4  # of a direction, as a share of the largest: whitening takes smaller ones for this


def centred_unit(embeddings: np.ndarray, subtract_mean: bool, whitening: float = 0.0) -> np.ndarray:
    """[N, D] embeddings of length 1, after the subtraction of their mean if asked for. Rows of NaN stay so and do not count.

    Args:
        whitening: how far the variances of the principal directions are made alike: 0 leaves them, 1 makes them equal, and each is
            raised to the power of 1 - `whitening` between. Above 0 the mean is subtracted, too.
    """
    mean = _mean(embeddings) if subtract_mean or whitening else None
    turn = _turn(embeddings, mean, whitening) if mean is not None and whitening else None
    unit = np.empty(embeddings.shape, dtype=np.float32)
    for rows in chunks(len(embeddings)):  # each step of the whole corpus at once would be one more copy of it
        shifted = embeddings[rows] if mean is None else embeddings[rows] - mean
        shifted = shifted if turn is None else shifted @ turn
        lengths = np.linalg.norm(shifted, axis=1, keepdims=True)
        unit[rows] = shifted / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit


def _mean(embeddings: np.ndarray) -> np.ndarray:
    """[D] the mean of the rows that are not NaN."""
    total, count = np.zeros(embeddings.shape[1]), np.zeros(embeddings.shape[1])
    for rows in chunks(len(embeddings)):
        total += np.nansum(embeddings[rows], axis=0)
        count += np.count_nonzero(~np.isnan(embeddings[rows]), axis=0)
    return (total / count).astype(embeddings.dtype)


def _turn(embeddings: np.ndarray, mean: np.ndarray, whitening: float) -> np.ndarray:
    """[D, D] what whitens the centred rows when they are multiplied by it: their principal directions, each with its scale."""
    scatter = np.zeros((len(mean), len(mean)))
    for rows in chunks(len(embeddings)):
        centred = embeddings[rows] - mean
        centred = centred[~np.isnan(centred).any(axis=1)].astype(np.float64)
        scatter += centred.T @ centred
    variances, directions = np.linalg.eigh(scatter)
    scales = np.maximum(variances / variances[-1], SMALLEST_VARIANCE) ** (-whitening / 2)
    return (directions * scales).astype(embeddings.dtype)


def chunks(rows: int) -> Iterator[slice]:
    """Slices of the rows, so small that a step on one needs little memory beside the corpus."""
    return (slice(start, start + CHUNK) for start in range(0, rows, CHUNK))
