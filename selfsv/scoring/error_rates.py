"""Equal error rate and minimum detection cost of scored trials."""

import numpy as np
from sklearn.metrics import roc_curve

from selfsv.errors import InputError, SettingsError


def operating_points(scores: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Miss and false-alarm rates at every threshold that changes a decision, from rejecting all to accepting all.

    Trials of equal score share a point: no threshold can tell them apart.

    Args:
        scores: [N], higher for the same speaker.
        target: [N] bool.

    Returns:
        Miss rates, falling from 1 to 0, and false-alarm rates, rising from 0 to 1; [P] float64 each.

    Raises:
        InputError: a score is not finite, or there are only targets or only non-targets.
    """
    check_scores(scores, target)
    false_alarm, hit, _ = roc_curve(np.asarray(target, dtype=bool), np.asarray(scores, dtype=np.float64), drop_intermediate=False)
    return 1 - hit, false_alarm


def check_scores(scores: np.ndarray, target: np.ndarray) -> None:
    """Raise an `InputError` where N scored trials have no error rates: `scores` [N] are not finite, or all trials are of one kind."""
    if broken := np.count_nonzero(~np.isfinite(scores)):
        raise InputError(f"{broken:,} of {len(scores):,} scores are not finite: extract the embeddings again")
    if np.all(target) or not np.any(target):
        kind = "target" if len(target) and np.all(target) else "non-target"
        raise InputError(f"all {len(target):,} trials are {kind} trials: error rates need both kinds, so complete the trial list")


def decision_thresholds(scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The least score that is accepted at each of `operating_points`, falling from infinity, [P] float64; same arguments."""
    return np.asarray(roc_curve(np.asarray(target, dtype=bool), np.asarray(scores, dtype=np.float64), drop_intermediate=False)[2])


def equal_error_rate(miss: np.ndarray, false_alarm: np.ndarray) -> float:
    """The rate at which misses equal false alarms, on the straight lines between `operating_points`, as a fraction.

    The lines are those of the ROC curve as measured, not of its convex hull, which would be lower on short lists.
    """
    excess = miss - false_alarm
    after = int(np.argmax(excess <= 0))  # falls strictly from 1 to -1, so there is exactly one crossing
    weight = excess[after - 1] / (excess[after - 1] - excess[after])
    return float(false_alarm[after - 1] + weight * (false_alarm[after] - false_alarm[after - 1]))


def min_dcf(miss: np.ndarray, false_alarm: np.ndarray, p_target: float, c_miss: float = 1.0, c_false_alarm: float = 1.0) -> float:
    """The least detection cost (paper Eq. 12) over `operating_points`, as a multiple of the best cost without scores.

    Raises:
        SettingsError: `p_target` is 0 or 1, so that deciding without scores costs nothing.
    """
    best_without_scores = min(c_miss * p_target, c_false_alarm * (1 - p_target))
    if best_without_scores <= 0:
        raise SettingsError(f"config key 'metrics.p_target': {p_target} leaves nothing to decide; choose a value between 0 and 1")
    cost = c_miss * miss * p_target + c_false_alarm * false_alarm * (1 - p_target)
    return float(cost.min() / best_without_scores)
