"""Settings of stage II, training on pseudo labels with the dynamic loss-gate and label correction."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selfsv.settings.section import Fraction, NonNegative, Positive, Section

LEAST_BATCH = 2  # utterances of a batch: BatchNorm needs two


class AamSettings(Section):
    """Additive angular margin softmax (paper Eq. 9)."""

    scale: float = Field(32.0, gt=0, description="s [the authors' supervised recipe]")
    margin: float = Field(0.2, ge=0, lt=1.5, description="m at the end of its ramp, radians [the authors' supervised recipe]")
    margin_start_epoch: NonNegative = Field(5, description="the margin is 0 before this epoch [ours]")
    margin_full_epoch: NonNegative = Field(10, description="and full from this one on, linear between [ours]")


class ClassifierSettings(Section):
    """What tells the classes apart; its outputs are cosines, whichever it is (paper Eq. 9)."""

    kind: Literal["aam", "sub_centre", "sphereface2"] = Field(
        "aam",
        description="aam, sub_centre (several centres per class) or sphereface2 (a binary decision per class) [paper Eq. 9; WeSpeaker]",
    )
    centres: int = Field(3, ge=1, le=64, description="K of sub_centre, per class [Deng et al. 2020]")
    balance: float = Field(0.7, gt=0, lt=1, description="lambda of sphereface2, weight of the label's own decision [Wen et al. 2021]")
    exponent: float = Field(3.0, ge=1, description="t of sphereface2, spreads the cosines [Wen et al. 2021]")


Threshold = Annotated[float, Field(gt=0)]


class GateSettings(Section):
    """Which pseudo labels are trusted, and what becomes of the others (paper IV, Algorithm 1)."""

    mode: Literal["none", "fixed", "dlg", "dlg_lc"] = Field(
        "dlg_lc",
        description="none (all labels), fixed (loss-gate), dlg (dynamic loss-gate), dlg_lc (with label correction) [paper Table VII]",
    )
    fixed_threshold: Threshold | tuple[Threshold, ...] = Field(
        1.0, description="tau_1 of the fixed gate, nats, or one for each round [paper Table VII: 1, 3 or 5; LG in Table X: 1, 3, 3, 5, 6]"
    )
    segment: Literal["clean", "augmented"] = Field(
        "clean", description="whose loss is judged: clean or augmented [paper Algorithm 1; augmented: Tao et al. 2022, as their code does]"
    )
    trust: Literal["threshold", "posterior", "history"] = Field(
        "threshold",
        description="what makes a label count: threshold (a loss below tau_1), posterior (as far as the mixture takes its loss for one of a "
        "right label) or history (it was predicted in most of the last epochs) [paper Algorithm 1; posterior, history: SSRL, Cai et al. 2024]",
    )
    history_epochs: Positive = Field(5, description="epochs that history, and relabelling, look back [SSRL: 5]")
    gate_start_epoch: NonNegative = Field(
        11, description="all labels are used before this epoch; a whole epoch under the full margin comes first [ours]"
    )
    confidence: Fraction = Field(0.5, description="tau_2, least probability of the predicted class for a correction [paper V-E1]")
    sharpening: float = Field(0.1, gt=0, description="epsilon_c, temperature of the corrected label [paper V-E1]")


class TrainOptimiserSettings(Section):
    """SGD or Adam with an exponential decay (paper V-E1)."""

    kind: Literal["sgd", "adam"] = Field("sgd", description="sgd, or adam, which wants learning rates of about 0.001 [paper V-E1]")
    momentum: Fraction = Field(0.9, description="of sgd [paper V-E1, for the rounds]")
    weight_decay: float = Field(1e-4, ge=0, description="L2 penalty [paper V-E1, for the rounds]")
    learning_rate: float = Field(0.1, gt=0, description="at the start [paper V-E1]")
    final_learning_rate: float = Field(5e-5, gt=0, description="at the end [paper V-E1]")
    warmup_epochs: NonNegative = Field(0, description="epochs of linear growth from 0 [paper: none]")
    encoder_factor: float = Field(
        1.0, ge=0, le=1, description="of these rates for the encoder, which may know more than its classifier [paper: 1]"
    )
    clip_gradient: float | None = Field(
        3.0, gt=0, description="greatest norm of all gradients together; empty: no clipping [ours; the paper names none]"
    )


class AamTraining(Section):
    """What every training with AAM-softmax depends on."""

    epochs: Positive = Field(100, description="visits of every utterance [paper V-E1]")
    batch_size: Positive = Field(256, description="utterances per step over all GPUs [ours]")
    encoder_parts: Positive = Field(
        1,
        description="parts of a batch that the encoder takes one after the other, and once more for their gradients: less memory, a third more "
        "time, the same result but for BatchNorm, which normalises each part by itself [ours]",
    )
    crop_seconds: float = Field(2.0, gt=0, description="length of a segment, seconds [ours]")
    aam: AamSettings = AamSettings()
    classifier: ClassifierSettings = ClassifierSettings()
    optimiser: TrainOptimiserSettings = TrainOptimiserSettings()


class TrainSettings(AamTraining):
    """Stage II, DLG-LC: a new encoder in every round (paper IV)."""

    start: Literal["new", "previous", "stage_one"] = Field(
        "new",
        description="where a round's encoder begins: new (random), previous (the round before) or stage_one; the last two begin with the "
        "means of the clusters for classes [paper IV: new; previous: JHU, stage_one: LG in Table X]",
    )
    average_last: Positive = Field(1, description="checkpoints (one per epoch) averaged into a round's encoder [paper: the last alone]")
    relabel_start_epoch: NonNegative | None = Field(
        None,
        description="from this epoch on, a label is the commonest prediction of the last gate.history_epochs epochs; empty: never "
        "[paper: never; SSRL: 5]",
    )
    objective_weight: float = Field(
        0.0, ge=0, description="weight of stage I's loss, trained beside on all utterances, whatever becomes of their labels [paper: none]"
    )
    gate: GateSettings = GateSettings()

    @model_validator(mode="after")
    def _gate_waits_for_the_margin(self) -> Self:
        if self.gate.mode != "none" and self.gate.gate_start_epoch <= self.aam.margin_full_epoch:
            raise ValueError(
                f"gate.gate_start_epoch is {self.gate.gate_start_epoch}, but must be above aam.margin_full_epoch, {self.aam.margin_full_epoch}: "
                "the gate's threshold comes from the losses of the epoch before, which say nothing of labels while the margin grows"
            )
        return self

    @model_validator(mode="after")
    def _history_is_long_enough(self) -> Self:
        gate, least = self.gate, self.gate.history_epochs
        if gate.trust != "threshold" and gate.mode in ("none", "fixed"):
            raise ValueError(f"gate.trust is {gate.trust}, which takes gate.mode dlg or dlg_lc; with {gate.mode} leave it at threshold")
        if gate.trust == "history" and gate.gate_start_epoch < least:
            raise ValueError(f"gate.gate_start_epoch is {gate.gate_start_epoch}, but must be at least gate.history_epochs, {least}")
        if self.relabel_start_epoch is not None and self.relabel_start_epoch < least:
            raise ValueError(f"relabel_start_epoch is {self.relabel_start_epoch}, but must be at least gate.history_epochs, {least}")
        return self
