"""How embeddings are compared: cosine, s-norm, log-likelihood ratio. Needs numpy alone: the exported graph is used without PyTorch."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from selfsv.errors import InputError
from selfsv.scoring.calibration import LONGEST_SECONDS, Calibration, Rated
from selfsv.scoring.cosine import unit_length
from selfsv.scoring.snorm import cohort_statistics

Norm = Literal["cosine", "snorm"]


class Background(NamedTuple):
    """A model's own training corpus, which scores are normalised against."""

    mean: np.ndarray  # [D] float32, of the corpus's embeddings
    cohort: np.ndarray  # [C, D] float32, mean embeddings of its pseudo clusters


class Comparing:
    """What a model of any runtime does with embeddings. It has these attributes, and `dimensions`."""

    name: str
    subtract_mean: bool
    cohort_top: int
    background_of: Callable[[], Background] | None
    calibration: Calibration | None
    dimensions: Any  # int, of an embedding

    @cached_property
    def background(self) -> Background:
        """The training corpus's mean and cohort.

        Raises:
            InputError: the model came without them.
        """
        if self.background_of is None:
            raise InputError(
                f"{self.name} is a model without its training corpus's mean and cohort, which mean subtraction and s-norm need: "
                "name the experiment's folder or an exported model, or compare by plain cosine"
            )
        return self.background_of()

    def compare(self, first: Any, second: Any, norm: Norm = "cosine") -> float:
        """The score of two embeddings [D], tensors or arrays: higher for the same speaker.

        Args:
            norm: `cosine`, or `snorm` for adaptive symmetric score normalisation against the model's cohort (paper Table X).

        Raises:
            InputError: the model came without what `norm` needs, or an embedding is not one of this model's.
        """
        return float(self.compare_all(np.asarray(first)[None], np.asarray(second)[None], norm)[0, 0])

    def compare_all(self, first: np.ndarray, second: np.ndarray, norm: Norm = "cosine") -> np.ndarray:
        """Scores [M, N] float32 of every embedding in `first` [M, D] with every one in `second` [N, D]; see `compare`."""
        left, right = self.directions(first), self.directions(second)
        cosine = left @ right.T
        if norm == "cosine":
            return cosine
        return _normalised(cosine, self.statistics(left), self.statistics(right))

    def llr(self, first: Any, second: Any, seconds: tuple[float, float]) -> float:
        """The natural logarithm of how much likelier two embeddings [D] are if one speaker spoke both than if two did.

        Add the log-odds of your prior for the log-odds of one speaker. `calibration.doubts` says where not to trust it.

        Args:
            seconds: how long the two recordings are.

        Raises:
            InputError: the model came without a calibration, or an embedding is not one of this model's.
        """
        lengths = np.array([seconds], np.float64)
        return float(self.llr_all(np.asarray(first)[None], np.asarray(second)[None], lengths[:, 0], lengths[:, 1])[0, 0])

    def llr_all(self, first: np.ndarray, second: np.ndarray, first_seconds: np.ndarray, second_seconds: np.ndarray) -> np.ndarray:
        """Log-likelihood ratios [M, N] of every embedding in `first` [M, D] with every one in `second` [N, D]; see `llr`.

        Args:
            first_seconds: [M], how long the recordings are; NaN: not known, taken for long.
            second_seconds: [N].
        """
        if self.calibration is None:
            raise InputError(f"{self.name} is a model without a calibration: name an experiment's folder, or a model exported from one")
        left, right = self.directions(first), self.directions(second)
        cosine, statistics, others = left @ right.T, self.statistics(left), self.statistics(right)
        scores = cosine if self.calibration.norm == "cosine" else _normalised(cosine, statistics, others)
        lengths = np.minimum.outer(*(np.nan_to_num(seconds, nan=LONGEST_SECONDS) for seconds in (first_seconds, second_seconds)))
        nearness = np.add.outer(statistics[0], others[0]) / 2
        return self.calibration.llr(Rated(scores.ravel(), lengths.ravel(), nearness.ravel())).reshape(cosine.shape)

    def directions(self, embeddings: np.ndarray) -> np.ndarray:
        """Embeddings [N, D] as they are compared: less the mean where this model wants that, and of length 1.

        Raises:
            InputError: they have another number of dimensions, or are not finite.
        """
        size = self.dimensions
        if embeddings.ndim != 2 or embeddings.shape[1] != size:
            raise InputError(f"embeddings of {self.name} have {size} dimensions, not {list(embeddings.shape[1:])}")
        if not np.isfinite(embeddings).all():
            raise InputError("an embedding holds NaN or infinite values")
        return unit_length(embeddings, self.background.mean if self.subtract_mean else None)

    def statistics(self, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of each of `directions`' [N, D] scores against the cohort, [N] each."""
        return cohort_statistics(directions, self._cohort, min(self.cohort_top, len(self._cohort)))

    @cached_property
    def _cohort(self) -> np.ndarray:
        return self.directions(self.background.cohort)


def _normalised(cosine: np.ndarray, first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    (means, deviations), (other_means, other_deviations) = first, second
    z_norm = (cosine - means[:, None]) / deviations[:, None]
    t_norm = (cosine - other_means) / other_deviations
    return (z_norm + t_norm) / 2
