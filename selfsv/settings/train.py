"""Settings of stage II, training on pseudo labels with the dynamic loss-gate and label correction."""

from typing import Literal

from pydantic import Field, model_validator

from selfsv.settings.section import Fraction, NonNegative, Positive, Section

LEAST_BATCH = 2  # utterances of a batch: BatchNorm needs two


class AamSettings(Section):
    """Additive angular margin softmax (paper Eq. 9)."""

    scale: float = Field(32.0, gt=0, description="s [the authors' supervised recipe]")
    margin: float = Field(0.2, ge=0, lt=1.5, description="m at the end of its ramp, radians [the authors' supervised recipe]")
    margin_start_epoch: NonNegative = Field(5, description="the margin is 0 before this epoch [ours]")
    margin_full_epoch: NonNegative = Field(10, description="and full from this one on, linear between [ours]")


class GateSettings(Section):
    """Which pseudo labels are trusted, and what becomes of the others (paper IV, Algorithm 1)."""

    mode: Literal["none", "fixed", "dlg", "dlg_lc"] = Field(
        "dlg_lc",
        description="none (all labels), fixed (loss-gate), dlg (dynamic loss-gate), dlg_lc (with label correction) [paper Table VII]",
    )
    fixed_threshold: float = Field(1.0, gt=0, description="tau_1 of the fixed gate, on the clean loss, nats [paper Table VII: 1, 3 or 5]")
    gate_start_epoch: NonNegative = Field(
        11, description="all labels are used before this epoch; a whole epoch under the full margin comes first [ours]"
    )
    confidence: Fraction = Field(0.5, description="tau_2, least probability of the predicted class for a correction [paper V-E1]")
    sharpening: float = Field(0.1, gt=0, description="epsilon_c, temperature of the corrected label [paper V-E1]")


class TrainOptimiserSettings(Section):
    """SGD with an exponential decay (paper V-E1)."""

    momentum: Fraction = Field(0.9, description="of SGD [paper V-E1, for the rounds]")
    weight_decay: float = Field(1e-4, ge=0, description="L2 penalty [paper V-E1, for the rounds]")
    learning_rate: float = Field(0.1, gt=0, description="at the start [paper V-E1]")
    final_learning_rate: float = Field(5e-5, gt=0, description="at the end [paper V-E1]")
    warmup_epochs: NonNegative = Field(0, description="epochs of linear growth from 0 [paper: none]")
    clip_gradient: float | None = Field(
        3.0, gt=0, description="greatest norm of all gradients together; empty: no clipping [ours; the paper names none]"
    )


class AamTraining(Section):
    """What every training with AAM-softmax depends on."""

    epochs: Positive = Field(100, description="visits of every utterance [paper V-E1]")
    batch_size: Positive = Field(256, description="utterances per step over all GPUs [ours]")
    crop_seconds: float = Field(2.0, gt=0, description="length of a segment, seconds [ours]")
    aam: AamSettings = AamSettings()
    optimiser: TrainOptimiserSettings = TrainOptimiserSettings()


class TrainSettings(AamTraining):
    """Stage II, DLG-LC: a new encoder in every round (paper IV)."""

    average_last: Positive = Field(1, description="checkpoints (one per epoch) averaged into a round's encoder [paper: the last alone]")
    gate: GateSettings = GateSettings()

    @model_validator(mode="after")
    def _gate_waits_for_the_margin(self) -> "TrainSettings":
        if self.gate.mode != "none" and self.gate.gate_start_epoch <= self.aam.margin_full_epoch:
            raise ValueError(
                f"gate.gate_start_epoch is {self.gate.gate_start_epoch}, but must be above aam.margin_full_epoch, {self.aam.margin_full_epoch}: "
                "the gate's threshold comes from the losses of the epoch before, which say nothing of labels while the margin grows"
            )
        return self
