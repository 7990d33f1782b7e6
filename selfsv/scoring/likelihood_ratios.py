"""Measures of scores as likelihood ratios: Cllr, its least value by any calibration, and the cost of deciding at a stated prior.

Cllr and the actual cost take natural logarithms of likelihood ratios. Raw cosines are none: only calibrated scores have them.
"""

import numpy as np
from scipy.special import logit
from sklearn.isotonic import IsotonicRegression

from selfsv.errors import SettingsError
from selfsv.scoring.error_rates import check_scores


def cllr(llr: np.ndarray, target: np.ndarray) -> float:
    """The cost of log-likelihood ratios in bits (Brummer and du Preez 2006, Eq. 8): 0 is perfect, 1 what 0 for every trial costs.

    Args:
        llr: [N] natural logarithms of likelihood ratios, same speaker over different speakers; they may be infinite.
        target: [N] bool.

    Raises:
        InputError: a ratio is not a number, or there are only targets or only non-targets.
    """
    check_scores(np.nan_to_num(llr, nan=np.nan, posinf=0, neginf=0), target)
    costs = np.logaddexp(0, np.where(target, -llr, llr))
    return float((costs[target].mean() + costs[~target].mean()) / (2 * np.log(2)))


def min_cllr(scores: np.ndarray, target: np.ndarray) -> float:
    """The least `cllr` that any rising function of N scores has on these trials, found by pooling adjacent violators.

    What is left of Cllr is due to the scores' order, the rest to calibration (Brummer and du Preez 2006, section 6).

    Args:
        scores: [N], higher for the same speaker.
        target: [N] bool.

    Raises:
        InputError: a score is not finite, or there are only targets or only non-targets.
    """
    check_scores(scores, target)
    weights = np.where(target, 1 / np.count_nonzero(target), 1 / np.count_nonzero(~target))  # as if both kinds were equally frequent
    regression = IsotonicRegression(y_min=0, y_max=1)
    posterior = regression.fit_transform(np.asarray(scores, dtype=np.float64), target.astype(float), sample_weight=weights)
    return cllr(logit(np.clip(posterior, 0, 1)), target)


def actual_dcf(llr: np.ndarray, target: np.ndarray, p_target: float, c_miss: float = 1.0, c_false_alarm: float = 1.0) -> float:
    """The detection cost at the threshold that Bayes' rule sets for log-likelihood ratios, normalised as `min_dcf` (NIST SRE).

    Args:
        llr: [N] natural logarithms of likelihood ratios.
        target: [N] bool.
        p_target: prior of a target trial.

    Raises:
        InputError: a ratio is not a number, or there are only targets or only non-targets.
        SettingsError: `p_target` is 0 or 1.
    """
    check_scores(np.nan_to_num(llr, nan=np.nan, posinf=0, neginf=0), target)
    weighted_miss, weighted_false_alarm = c_miss * p_target, c_false_alarm * (1 - p_target)
    if min(weighted_miss, weighted_false_alarm) <= 0:
        raise SettingsError(f"config key 'metrics.p_target': {p_target} leaves nothing to decide; choose a value between 0 and 1")
    accepted = llr >= np.log(weighted_false_alarm / weighted_miss)
    cost = weighted_miss * np.mean(~accepted[target]) + weighted_false_alarm * np.mean(accepted[~target])
    return float(cost / min(weighted_miss, weighted_false_alarm))
