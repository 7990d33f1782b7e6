"""A two-dimensional map of embeddings: t-SNE where openTSNE is installed, else the first two principal components."""

from importlib.util import find_spec
from typing import Literal, NamedTuple

import numpy as np
from sklearn.decomposition import PCA

from selfsv.errors import InputError

Method = Literal["tsne", "pca"]
PERPLEXITY = 30.0  # of t-SNE, openTSNE's default; fewer points get a third of their number
FEWEST = 10  # points; t-SNE needs neighbours


class Projection(NamedTuple):
    """Places of N points."""

    method: Method
    points: np.ndarray  # [N, 2] float32, within -1 … 1


def project(unit: np.ndarray, method: Method | None = None, seed: int = 1) -> Projection:
    """Places of the embeddings in the plane.

    Args:
        unit: [N, D] of length 1: neighbours by Euclidean distance are neighbours by cosine.
        method: None: t-SNE (van der Maaten and Hinton 2008, by openTSNE) where it is installed and there are enough points, else PCA.

    Raises:
        InputError: t-SNE is asked for, and openTSNE is not installed.
    """
    installed = find_spec("openTSNE") is not None
    if method == "tsne" and not installed:
        raise InputError("--map tsne needs openTSNE: pip install 'selfsv[explore]', or choose --map pca")
    if not np.ptp(unit, axis=0).any():  # all at one place, a single one included
        return Projection("pca", np.zeros((len(unit), 2), np.float32))
    if method == "pca" or not installed or len(unit) < FEWEST:
        return Projection("pca", fitted(principal_components(unit, seed)))
    return Projection("tsne", fitted(tsne(unit, seed)))


def principal_components(unit: np.ndarray, seed: int) -> np.ndarray:
    """[N, 2] the first two principal components; 0 where there are fewer."""
    components = min(2, *unit.shape)
    return np.pad(PCA(components, random_state=seed).fit_transform(unit), ((0, 0), (0, 2 - components)))


def tsne(unit: np.ndarray, seed: int) -> np.ndarray:
    """[N, 2] by t-SNE, from the principal components on, which keeps the large distances better than a random start does."""
    from openTSNE import TSNE

    perplexity = min(PERPLEXITY, (len(unit) - 1) / 3)
    # One thread: with several, OpenMP waits in a busy loop, many times as long where other processes compute, too.
    estimator = TSNE(perplexity=perplexity, initialization="pca", n_jobs=1, random_state=seed)
    return np.asarray(estimator.fit(np.ascontiguousarray(unit, dtype=np.float64)))


def fitted(points: np.ndarray) -> np.ndarray:
    """[N, 2] float32 moved and scaled alike in both directions, so that all are within -1 … 1."""
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max()) / 2
    return ((points - (low + high) / 2) / extent).astype(np.float32)
