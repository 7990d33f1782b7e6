"""Settings of scoring."""

from typing import Literal

from pydantic import Field

from selfsv.settings.section import Fraction, Positive, Section


class ScoreSettings(Section):
    """Cosine scores and their adaptive symmetric normalisation (paper Table X)."""

    cohort_top: Positive = Field(300, description="nearest cohort members that normalise a score [paper Table X]")
    subtract_mean: bool = Field(False, description="subtract the training corpus's mean embedding before the cosine [paper: no]")


class CalibrationSettings(Section):
    """Log-likelihood ratios, fitted to pairs of training recordings that share a pseudo cluster or do not."""

    norm: Literal["cosine", "snorm"] = Field("snorm", description="the scores that become log-likelihood ratios [ours]")
    quality_measures: bool = Field(
        False, description="also use the shorter side's duration and the nearness to the cohort [WeSpeaker: yes]"
    )
    trials: Positive = Field(100_000, description="at most this many pairs of one cluster, and of two clusters [ours]")


class MetricSettings(Section):
    """The operating point of minDCF (paper Eq. 12)."""

    p_target: Fraction = Field(0.01, description="prior of a target trial [paper V-B]")
    c_miss: float = Field(1.0, gt=0, description="cost of a miss [paper V-B]")
    c_false_alarm: float = Field(1.0, gt=0, description="cost of a false alarm [paper V-B]")
