"""The settings that one job depends on: what its rule passes to its script, and nothing else."""

from collections.abc import Iterable
from typing import Any, Self

from pydantic import field_serializer, field_validator

from selfsv.settings.audio import AugmentationSettings, FeatureSettings
from selfsv.settings.clustering import PreparationSettings
from selfsv.settings.data import CutSettings, DecodingSettings
from selfsv.settings.encoder import EncoderSettings
from selfsv.settings.experiment import Experiment
from selfsv.settings.faces import FaceAugmentationSettings, FaceEncoderSettings
from selfsv.settings.ivector import IvectorSettings
from selfsv.settings.pretrain import SECTIONS, ClusterAwareSettings, PretrainSettings
from selfsv.settings.scoring import CalibrationSettings, MetricSettings, ScoreSettings
from selfsv.settings.section import NonNegative, Positive, Section
from selfsv.settings.stage_one import is_cluster_aware, stage_one_title
from selfsv.settings.train import AamTraining, TrainSettings


class PackJob(DecodingSettings):
    """The decoding of one shard. How many shards there are shows in the listing."""

    cut: CutSettings | None = None

    @classmethod
    def of(cls, experiment: Experiment, corpus: str) -> Self:
        """The part of an experiment's settings that this job depends on."""
        return cls(**experiment.pack.model_dump(include=set(DecodingSettings.model_fields)), cut=experiment.corpora[corpus].cut)


class Job(Section):
    """The settings that every job on an encoder depends on."""

    seed: NonNegative
    features: FeatureSettings
    encoder: EncoderSettings

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """The part of an experiment's settings that this job depends on; the encoder is not the last round's."""
        return cls(**_parts(experiment, cls.model_fields.keys()))


def _parts(experiment: Experiment, names: Iterable[str]) -> dict[str, Any]:
    """Sections by name; the encoder is not the last round's."""
    parts = {name: getattr(experiment, name) for name in names}
    return parts | ({"encoder": experiment.encoder_of(0)} if "encoder" in parts else {})


class DeriveJob(Section):
    """What the settings of `recipe: adaptive` follow beside the corpus."""

    utterances_per_speaker: float
    epochs: Positive  # of stage I
    round_epochs: Positive
    batch_size: Positive | None  # of stage I, where the user names it
    round_batch_size: Positive | None
    own: tuple[str, ...]  # keys that the user sets, of those that would be derived

    @classmethod
    def of(cls, experiment: Experiment, own: Iterable[str]) -> Self:
        """The part of an experiment's settings that this job depends on."""
        keys = tuple(sorted(own))
        pretrain, train = experiment.pretrain, experiment.train
        return cls(
            utterances_per_speaker=experiment.utterances_per_speaker,
            epochs=pretrain.epochs,
            round_epochs=train.epochs,
            batch_size=pretrain.batch_size if "pretrain.batch_size" in keys else None,
            round_batch_size=train.batch_size if "train.batch_size" in keys else None,
            own=keys,
        )


class BaselineJob(Job):
    """An encoder that is never trained."""


class PretrainJob(Job):
    """Stage I."""

    augmentation: AugmentationSettings
    pretrain: PretrainSettings
    preparation: PreparationSettings

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Of the settings of clusters, what embeddings go through before: their number is CA-DINO's own."""
        names = cls.model_fields.keys() - {"preparation"}
        cluster = experiment.cluster.model_dump(include=set(PreparationSettings.model_fields))
        return cls(**_parts(experiment, names), preparation=PreparationSettings(**cluster))

    def before_clusters(self) -> Self:
        """What the epochs before the first clustering depend on: of what clusters are made, nothing but when."""
        first = {"cluster_aware": ClusterAwareSettings(start_epoch=self.pretrain.cluster_aware.start_epoch)}
        return self.model_copy(update={"pretrain": self.pretrain.model_copy(update=first), "preparation": PreparationSettings()})

    @field_validator("pretrain")
    @classmethod
    def _has_an_objective(cls, pretrain: PretrainSettings) -> PretrainSettings:
        if pretrain.method not in SECTIONS:
            raise ValueError(f"'{pretrain.method}' has a stage of its own, pipeline.{pretrain.method}")
        return pretrain

    @field_serializer("pretrain")
    def _without_other_methods(self, pretrain: PretrainSettings) -> dict[str, Any]:
        return _of_its_method(pretrain)


def _of_its_method(pretrain: PretrainSettings) -> dict[str, Any]:
    """Stage I without the sections of other methods: else a changed default of one objective would rerun the trainings of all."""
    unused = set[str]().union(*SECTIONS.values()) - SECTIONS[pretrain.method]
    return pretrain.model_dump(mode="json", exclude=unused)


class IvectorJob(Section):
    """Stage I by an i-vector extractor, whose features keep their mean: it tells speech from silence, and the cepstra lose it later."""

    seed: NonNegative
    features: FeatureSettings
    ivector: IvectorSettings

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """The part of an experiment's settings that this job depends on."""
        return cls(**_parts(experiment, cls.model_fields.keys()))

    @field_validator("features")
    @classmethod
    def _with_their_mean(cls, features: FeatureSettings) -> FeatureSettings:
        return features.model_copy(update={"mean_normalise": False})


class TrainJob(Job):
    """One round of stage II."""

    augmentation: AugmentationSettings
    train: TrainSettings
    pretrain: PretrainSettings | None = None  # where stage I's objective is trained beside

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """As of every job, with stage I where its objective is trained beside."""
        names = cls.model_fields.keys() - {"pretrain"}
        return cls(**_parts(experiment, names), pretrain=experiment.pretrain if experiment.train.objective_weight else None)

    @field_serializer("pretrain")
    def _without_other_methods(self, pretrain: PretrainSettings | None) -> dict[str, Any] | None:
        return None if pretrain is None else _of_its_method(pretrain)

    @classmethod
    def of_round(cls, experiment: Experiment, iteration: int) -> Self:
        """As `of`, with the encoder and the threshold of that round: the last one may have an encoder of its own."""
        return cls.of(experiment).model_copy(update={"encoder": experiment.encoder_of(iteration), "train": experiment.train_of(iteration)})


class TrainAvJob(TrainJob):
    """One audio-visual round of stage II."""

    require_face: bool
    face_encoder: FaceEncoderSettings
    face_augmentation: FaceAugmentationSettings

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Without the settings of face detection: these show in the faces."""
        faces = experiment.faces
        return cls(
            **TrainJob.of(experiment).model_dump(),
            require_face=faces.require_face,
            face_encoder=faces.encoder,
            face_augmentation=faces.augmentation,
        )


class TuneJob(Section):
    """A trained encoder that is tuned further. Its own settings come with its model; which labels it is tuned on shows in the labels."""

    seed: NonNegative
    augmentation: AugmentationSettings
    tune: AamTraining

    @classmethod
    def with_large_margin(cls, experiment: Experiment) -> Self:
        """On the last pseudo labels."""
        return cls._of(experiment, experiment.large_margin)

    @classmethod
    def on_labels(cls, experiment: Experiment) -> Self:
        """On speaker labels. Neither the number of systems nor where they start is part of one system's job."""
        return cls._of(experiment, experiment.finetune)

    @classmethod
    def _of(cls, experiment: Experiment, section: AamTraining) -> Self:
        tune = AamTraining(**section.model_dump(include=set(AamTraining.model_fields)))
        return cls(**_parts(experiment, cls.model_fields.keys() - {"tune"}), tune=tune)


class CompleteTuneJob(TuneJob, Job):
    """A `TuneJob` with the encoder's settings: those of the model that it starts from, or the experiment's for random weights."""


def finetune_job(experiment: Experiment, start: str) -> TuneJob:
    """The job of tuning the encoder of the system `start` on labels; `random` weights take their sizes from the experiment."""
    return (CompleteTuneJob if start == "random" else TuneJob).on_labels(experiment)


class CalibrationJob(Section):
    """From the training corpus's scores to log-likelihood ratios."""

    seed: NonNegative
    score: ScoreSettings
    calibration: CalibrationSettings

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """The part of an experiment's settings that this job depends on."""
        return cls(**{name: getattr(experiment, name) for name in cls.model_fields})


class ReclusteringSettings(PreparationSettings):
    """How embeddings are clustered once more, in as many clusters as there are."""

    iterations: Positive
    restarts: Positive
    points_per_cluster: Positive


class DiagnoseJob(Section):
    """Quality without labels: embeddings are clustered and compared as pseudo labels are made and trials are scored."""

    cluster: ReclusteringSettings
    score: ScoreSettings

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """The part of an experiment's settings that this job depends on."""
        cluster = experiment.cluster.model_dump(include=set(ReclusteringSettings.model_fields))
        return cls(cluster=ReclusteringSettings(**cluster), score=experiment.score)


class MetricJob(MetricSettings):
    """Error rates of all trial lists: the operating point, the corpus of each list and its tables of speakers, a name for `iter_0`."""

    corpora: dict[str, str] = {}
    speakers_tables: dict[str, str] = {}  # by corpus
    stage_one: str = "stage I"

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """By the experiment's trial lists."""
        corpora = {name: trials.corpus for name, trials in experiment.trials.items()}
        tables = {name: experiment.corpora[name].speakers_table for name in corpora.values()}
        known = {name: path for name, path in tables.items() if path}
        stage_one = stage_one_title(experiment)
        return cls(**experiment.metrics.model_dump(), corpora=corpora, speakers_tables=known, stage_one=stage_one)


class CorpusCheck(Section):
    """Values that the training corpus must be large enough for, each under its config key."""

    clusters: dict[str, Positive]
    batch_sizes: dict[str, Positive]
    shards: Positive

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """By the pretraining, the rounds and the clusterings that the experiment has."""
        pretrain, train = experiment.pretrain, experiment.train
        clusters, batch_sizes = {"cluster.clusters": experiment.cluster.clusters}, {}
        if not (experiment.initial_model or experiment.starts_from_ivectors):
            batch_sizes["pretrain.batch_size"] = pretrain.batch_size
            if is_cluster_aware(pretrain):
                clusters["pretrain.cluster_aware.clusters"] = pretrain.cluster_aware.clusters
        if experiment.rounds:
            batch_sizes["train.batch_size"] = train.batch_size
        return cls(clusters=clusters, batch_sizes=batch_sizes, shards=experiment.pack.shards)
