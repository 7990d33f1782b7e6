"""Calibration: from scores to log-likelihood ratios.

A ratio is a weighted sum of a score and, if wanted, of measures of the trial's quality. `calibration_fit` finds the weights.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from selfsv.errors import InputError

LONGEST_SECONDS = 20.0  # longer recordings say no more about a voice [WeSpeaker's cap]
NORMS = ("cosine", "snorm")
WEIGHTS = ["score_weight", "duration_weight", "cohort_weight"]


class Rated(NamedTuple):
    """N scored trials, and what is known of their quality."""

    scores: np.ndarray  # [N]
    seconds: np.ndarray  # [N] of the shorter side
    cohort_means: np.ndarray  # [N] mean over both sides of the cosines with their nearest cohort members

    def features(self, quality: bool) -> np.ndarray:
        """[N, 3], or [N, 1] without quality measures."""
        if not quality:
            return self.scores[:, None].astype(np.float64)
        logarithms = np.log(np.minimum(self.seconds, LONGEST_SECONDS))
        return np.stack([self.scores, logarithms, self.cohort_means], axis=1).astype(np.float64)

    def only(self, chosen: np.ndarray) -> "Rated":
        """The trials that `chosen` selects."""
        return Rated(*(values[chosen] for values in self))


class Calibration(NamedTuple):
    """The weights that turn scores of one kind into log-likelihood ratios."""

    norm: str  # of the scores: cosine or snorm
    offset: float
    score_weight: float
    duration_weight: float = 0.0  # of the logarithm of the shorter side's seconds
    cohort_weight: float = 0.0
    doubts: str = ""  # why it is not to be trusted; empty: nothing speaks against it

    def llr(self, trials: Rated) -> np.ndarray:
        """[N] float64, natural logarithms of likelihood ratios, same speaker over different speakers."""
        weights = np.array([self.score_weight, self.duration_weight, self.cohort_weight])
        return self.offset + trials.features(quality=True) @ weights


def calibration_of(values: object) -> Calibration:
    """The calibration with these fields.

    Raises:
        ValueError: they are not those of a calibration.
    """
    if not isinstance(values, Mapping) or set(values) != set(Calibration._fields):
        raise ValueError(f"its fields are not {', '.join(Calibration._fields)}")
    norm, doubts = str(values["norm"]), str(values["doubts"])
    offset, score, duration, cohort = (as_number(values[name]) for name in ("offset", *WEIGHTS))
    if norm not in NORMS:
        raise ValueError(f"its norm is '{norm}', not one of {', '.join(NORMS)}")
    return Calibration(norm, offset, score, duration, cohort, doubts)


def as_number(value: object) -> float:
    """A weight.

    Raises:
        ValueError: it is no finite number.
    """
    if not isinstance(value, int | float) or not np.isfinite(value):
        raise ValueError(f"a weight is {value!r}")
    return float(value)


def read_calibration(path: Path) -> Calibration:
    """The chosen calibration in a file `calibration.parquet`.

    Raises:
        InputError: it is missing, damaged, or holds none.
    """
    from selfsv.artifacts import read_table  # needs pandas, Arrow and Torch, which an exported graph is used without

    table = read_table(path, [*Calibration._fields, "chosen"])
    rows: list[object] = table[table["chosen"]].drop(columns="chosen").to_dict("records")  # type: ignore[assignment]
    try:
        (row,) = rows
        return calibration_of(row)
    except ValueError as error:
        raise InputError(f"{path} holds no calibration ({error}): delete it and run the stage `calibrate` again") from None
