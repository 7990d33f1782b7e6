"""Settings of scoring."""

from pydantic import Field

from selfsv.settings.section import Fraction, Positive, Section


class ScoreSettings(Section):
    """Cosine scores and their adaptive symmetric normalisation (paper Table X)."""

    cohort_top: Positive = Field(300, description="nearest cohort members that normalise a score [paper Table X]")
    subtract_mean: bool = Field(False, description="subtract the training corpus's mean embedding before the cosine [paper: no]")


class MetricSettings(Section):
    """The operating point of minDCF (paper Eq. 12)."""

    p_target: Fraction = Field(0.01, description="prior of a target trial [paper V-B]")
    c_miss: float = Field(1.0, gt=0, description="cost of a miss [paper V-B]")
    c_false_alarm: float = Field(1.0, gt=0, description="cost of a false alarm [paper V-B]")
