"""The settings that one training job depends on: what its rule passes to its script, and nothing else."""

from typing import Self

from pipeline.settings.audio import AugmentationSettings, FeatureSettings
from pipeline.settings.encoder import EncoderSettings
from pipeline.settings.pretrain import PretrainSettings
from pipeline.settings.section import NonNegative, Section
from pipeline.settings.train import TrainSettings


class Job(Section):
    """What every job on an encoder depends on."""

    seed: NonNegative
    features: FeatureSettings
    encoder: EncoderSettings

    @classmethod
    def of(cls, experiment: Section) -> Self:
        """The part of an experiment's settings that this job depends on."""
        return cls(**{name: getattr(experiment, name) for name in cls.model_fields})


class BaselineJob(Job):
    """An encoder that is never trained."""


class PretrainJob(Job):
    """Stage I."""

    augmentation: AugmentationSettings
    pretrain: PretrainSettings


class TrainJob(Job):
    """One round of stage II."""

    augmentation: AugmentationSettings
    train: TrainSettings
