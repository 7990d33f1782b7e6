"""Thresholds between one speaker and two, and how often they err."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from selfsv.artifacts import read_table, refuse_rows
from selfsv.errors import InputError
from selfsv.inference.speaker_model import Norm

GOALS = "eer, min-dcf, or far=RATE (a false-alarm rate, e.g. far=0.01)"

PARQUET_MAGIC = b"PAR1"
LONGEST_HEADER = 1 << 16  # characters
LABELS = {"1": True, "0": False, "True": True, "False": False}  # of a target in CSV


class Trials(NamedTuple):
    """Scored trials."""

    source: str
    scores: np.ndarray  # [N]
    target: np.ndarray  # [N] bool


class Threshold(NamedTuple):
    """Scores from `value` on are taken for the same speaker."""

    value: float
    meaning: str  # a sentence


def given(value: float) -> Threshold:
    """A threshold that the user knows.

    Raises:
        InputError: it is no number.
    """
    if not np.isfinite(value):
        raise InputError(f"the threshold is {value}: give a number")
    return Threshold(value, f"scores of {value:.4f} and above count as the same speaker, as you asked; no trials say how often that errs")


def scored_trials(path: Path, norm: Norm) -> Trials:
    """The trials in the score file at `path`, as the workflow and `selfsv score` write it: Parquet or CSV, whatever it is called.

    Raises:
        InputError: it is no such file.
    """
    table = read_table(path, ["target", norm]) if _is_parquet(path) else _read_csv(path, norm)
    return Trials(str(path), table[norm].to_numpy(np.float64), table["target"].to_numpy(bool))


def _is_parquet(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: name the scores that `selfsv score` wrote") from None


def _read_csv(path: Path, norm: Norm) -> pd.DataFrame:
    advice = "run `selfsv score TRIALS --output scores.parquet` (or .csv) and give that file"
    try:
        with open(path, encoding="utf-8-sig") as file:
            header = file.readline(LONGEST_HEADER).rstrip("\r\n").split(",")
    except UnicodeDecodeError:
        raise InputError(f"{path} holds no scores, neither as Parquet nor as CSV: {advice}") from None
    if "target" not in header:
        raise InputError(f"{path} holds no scores beside labels (a CSV file has a first line 'enroll,test,target,cosine'): {advice}")
    if norm not in header:
        raise InputError(f"{path} holds no scores '{norm}': give --norm another of its columns ({', '.join(header)}), or {advice}")
    try:
        table = pd.read_csv(path, usecols=["target", norm], dtype={"target": str, norm: np.float64}, encoding="utf-8-sig")
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): {advice}") from None
    target = table["target"].map(LABELS)
    refuse_rows(path, target.isna().to_numpy(), "the target is neither 1 nor 0", advice)
    return table.assign(target=target.astype(bool))


def chosen(trials: Trials, goal: str, p_target: float = 0.01) -> Threshold:
    """The threshold that reaches `goal` on `trials`.

    Args:
        goal: `eer`: misses as frequent as false alarms; `min-dcf`: least detection cost (paper Eq. 12); `far=RATE`: as few misses as
            can be had with false alarms no more frequent than RATE.
        p_target: prior of a target trial for `min-dcf`.

    Raises:
        InputError: there is no such goal, or the trials have no error rates.
    """
    from selfsv.scoring.error_rates import decision_thresholds, operating_points  # scikit-learn takes a second to load

    miss, false_alarm = operating_points(trials.scores, trials.target)
    thresholds = decision_thresholds(trials.scores, trials.target)
    point = _point(goal, miss, false_alarm, p_target)
    value = _between(thresholds, point, trials.scores)
    share = f"{100 * miss[point]:.2f} % of the same-speaker and {100 * false_alarm[point]:.2f} % of the different-speaker trials"
    kinds = f"{int(trials.target.sum()):,} same-speaker and {int((~trials.target).sum()):,} different-speaker trials"
    return Threshold(value, f"scores of {value:.4f} and above count as the same speaker: wrong on {share} in {trials.source} ({kinds})")


def _point(goal: str, miss: np.ndarray, false_alarm: np.ndarray, p_target: float) -> int:
    kind, _, rate = goal.partition("=")
    if goal == "eer":
        return int(np.argmin(np.abs(miss - false_alarm)))
    if goal == "min-dcf":
        return int(np.argmin(p_target * miss + (1 - p_target) * false_alarm))
    try:
        allowed = float(rate) if kind == "far" else np.nan
    except ValueError:
        allowed = np.nan
    if not 0 <= allowed < 1:
        raise InputError(f"'{goal}' is no goal for a threshold: use {GOALS}")
    return int(np.flatnonzero(false_alarm <= allowed)[-1])


def _between(thresholds: np.ndarray, point: int, scores: np.ndarray) -> float:
    """Halfway between the least score that is accepted at `point` and the greatest that is not, so that neither lies on the line."""
    accepted = thresholds[point]
    below = scores[scores < accepted]
    if not np.isfinite(accepted):  # nothing is accepted
        return float(np.nextafter(scores.max(), np.inf))
    return float((accepted + below.max()) / 2) if len(below) else float(accepted)
