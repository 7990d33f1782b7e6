"""Settings of what goes on from a trained encoder: large-margin fine-tuning on pseudo labels, and fine-tuning on a few real labels."""

from typing import Annotated

from pydantic import Field

from selfsv.settings.section import NonNegative, Positive
from selfsv.settings.train import AamSettings, AamTraining, TrainOptimiserSettings

Start = Annotated[str, Field(pattern=r"^(random|iter_(0|[1-9][0-9]*))$")]
Percent = Annotated[int, Field(ge=1, le=100)]


class LargeMarginAamSettings(AamSettings):
    """Additive angular margin softmax, with a margin that is full from the first step."""

    margin: float = Field(0.5, ge=0, lt=1.5, description="m, radians [WeSpeaker's large-margin recipe]")
    margin_start_epoch: NonNegative = Field(0, description="the margin is 0 before this epoch [WeSpeaker's large-margin recipe]")
    margin_full_epoch: NonNegative = Field(0, description="and full from this one on, linear between [WeSpeaker's large-margin recipe]")


class LargeMarginOptimiserSettings(TrainOptimiserSettings):
    """SGD with an exponential decay, at a rate that changes a trained encoder little."""

    learning_rate: float = Field(1e-4, gt=0, description="at the start [WeSpeaker's large-margin recipe]")
    final_learning_rate: float = Field(2.5e-5, gt=0, description="at the end [WeSpeaker's large-margin recipe]")
    warmup_epochs: NonNegative = Field(1, description="epochs of linear growth from 0 [WeSpeaker's large-margin recipe]")


class LargeMarginSettings(AamTraining):
    """The last round's encoder, tuned on its own pseudo labels with longer crops and a larger margin (Thienpondt et al., 2021)."""

    enabled: bool = Field(False, description="make the system `large_margin` [paper: none]")
    epochs: Positive = Field(5, description="visits of every utterance [WeSpeaker's large-margin recipe]")
    crop_seconds: float = Field(6.0, gt=0, description="length of a segment, seconds [WeSpeaker's large-margin recipe]")
    aam: LargeMarginAamSettings = LargeMarginAamSettings()
    optimiser: LargeMarginOptimiserSettings = LargeMarginOptimiserSettings()


class FinetuneOptimiserSettings(TrainOptimiserSettings):
    """SGD with an exponential decay, at a lower rate than in the rounds."""

    learning_rate: float = Field(0.02, gt=0, description="at the start [ours]")
    final_learning_rate: float = Field(5e-5, gt=0, description="at the end [ours]")


class FinetuneSettings(AamTraining):
    """Encoders tuned on a part of a labelled corpus: the only training that reads speaker labels (paper VI-B)."""

    corpus: str | None = Field(
        None, description="the one of `corpora` with known speakers; no trial list may draw on it; empty: only without `starts`"
    )
    starts: tuple[Start, ...] = Field(
        (), description="encoders to start from, of iter_0 (CA-DINO), iter_1, … and random; empty: no fine-tuning at all [paper Table VI]"
    )
    percent: tuple[Percent, ...] = Field(
        (10, 20, 50, 100),
        description="of the labelled utterances, drawn at random, the smaller parts within the larger; a system each [paper Table VI]",
    )
    epochs: Positive = Field(50, description="visits of every utterance [ours]")
    optimiser: FinetuneOptimiserSettings = FinetuneOptimiserSettings()
