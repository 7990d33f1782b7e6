"""The error rates that every system gets, with their intervals: EER, and minDCF at two priors."""

import numpy as np

from selfsv.scoring.error_rates import equal_error_rate, min_dcf
from selfsv.scoring.intervals import Statistic

SECOND_PRIOR = 0.05  # of a target trial, the other one of VoxSRC and NIST SRE
MEASURES = ("eer", "min_dcf", "min_dcf_p05")  # columns of metrics.parquet


def measures(p_target: float, c_miss: float = 1.0, c_false_alarm: float = 1.0) -> Statistic:
    """What turns miss and false-alarm rates into `MEASURES`: EER, minDCF at `p_target` and at 0.05, with the same costs."""

    def of(miss: np.ndarray, false_alarm: np.ndarray) -> np.ndarray:
        costs = (min_dcf(miss, false_alarm, prior, c_miss, c_false_alarm) for prior in (p_target, SECOND_PRIOR))
        return np.array([equal_error_rate(miss, false_alarm), *costs])

    return of
