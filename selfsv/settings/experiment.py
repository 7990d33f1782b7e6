"""The whole configuration: what config.yaml may contain, and how overlays change it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from selfsv.errors import SettingsError
from selfsv.settings.audio import AugmentationSettings, FeatureSettings
from selfsv.settings.clustering import ClusterSettings
from selfsv.settings.data import Corpus, NoiseSettings, PackSettings, RejectionSettings, RirSettings, TrialList
from selfsv.settings.encoder import EncoderSettings
from selfsv.settings.faces import FaceSettings
from selfsv.settings.ivector import IvectorSettings
from selfsv.settings.pretrain import PretrainSettings
from selfsv.settings.reading import read_file
from selfsv.settings.runtime import RuntimeSettings
from selfsv.settings.scoring import CalibrationSettings, MetricSettings, ScoreSettings
from selfsv.settings.section import NonNegative, Section, merged, validated
from selfsv.settings.train import TrainSettings
from selfsv.settings.tuning import FinetuneSettings, LargeMarginSettings

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]

RECIPES = ("none", "adaptive")
OTHER_RECIPE = (
    "config key 'recipe' is none or adaptive: correct it, or remove it. config.yaml holds the paper's values, which `recipe: paper` stood for. "
    "Instead of `recipe: strong`, name its overlay before your own: snakemake --configfile systems/strong.yaml mine.yaml"
)


class Experiment(Section):
    """Everything that defines an experiment; config.yaml spells out each key."""

    experiment: Name = Field(description="name of the folder results/{experiment}: letters, digits, _ . -")
    seed: NonNegative = Field(1, description="of every random draw: same seed, same result")
    recipe: Literal["none", "adaptive"] = Field(
        "none",
        description="adaptive: settings that you leave out follow the packed corpus, see data/{corpus}/derived.yaml; none: no such thing",
    )
    utterances_per_speaker: float = Field(
        20.0, gt=0, description="a guess, from which `recipe: adaptive` has the numbers of clusters; no label is counted for it"
    )
    modality: Literal["audio", "audio_visual"] = Field(
        "audio",
        description="audio, or audio_visual: DLG-LC on voices and faces; tests are on audio alone [paper IV-C, Table IX]",
    )
    rounds: NonNegative = Field(3, description="DLG-LC iterations after CA-DINO; 0: CA-DINO alone [paper Table VIII: best after 3]")
    initial_model: str | None = Field(
        None, description="another experiment's iter_0/model.pt to start the rounds from; empty: CA-DINO is trained"
    )
    baselines: bool = Field(True, description="also score fbank statistics, as they are and whitened, and an untrained encoder [ours]")
    train_corpus: Name = Field("train", description="the one of `corpora` to learn from, without its labels")
    corpora: dict[Name, Corpus] = Field(
        description="the training corpus and those that the trial lists draw on; add your own under any name"
    )
    trials: dict[Name, TrialList] = Field(
        {}, description="lists to score, of lines `1 enrol test` (1: same speaker, 0: different ones); the names are yours"
    )
    pack: PackSettings = PackSettings()
    rejection: RejectionSettings = RejectionSettings()
    noise: NoiseSettings = NoiseSettings()
    rirs: RirSettings = RirSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    features: FeatureSettings = FeatureSettings()
    encoder: EncoderSettings = EncoderSettings()
    pretrain: PretrainSettings = PretrainSettings()
    ivector: IvectorSettings = IvectorSettings()
    cluster: ClusterSettings = ClusterSettings()
    train: TrainSettings = TrainSettings()
    large_margin: LargeMarginSettings = LargeMarginSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    faces: FaceSettings = FaceSettings()
    score: ScoreSettings = ScoreSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    metrics: MetricSettings = MetricSettings()
    runtime: RuntimeSettings = RuntimeSettings()

    @model_validator(mode="after")
    def _names_resolve(self) -> "Experiment":
        if self.train_corpus not in self.corpora:
            raise ValueError(f"train_corpus '{self.train_corpus}' is not one of the corpora ({', '.join(self.corpora)})")
        for name, trials in self.trials.items():
            if trials.corpus not in self.corpora:
                raise ValueError(f"trials.{name}.corpus '{trials.corpus}' is not one of the corpora ({', '.join(self.corpora)})")
            if self.corpora[trials.corpus].speeds:
                raise ValueError(f"corpora.{trials.corpus}.speeds: copies are to learn from, and trials.{name} draws on this corpus")
        if self.modality == "audio_visual" and self.corpora[self.train_corpus].speeds:
            raise ValueError(f"corpora.{self.train_corpus}.speeds is for modality: audio: a faster voice has no face of its own")
        return self

    @model_validator(mode="after")
    def _recordings_can_be_cut(self) -> "Experiment":
        """Utterances that are cut from recordings have no videos, and none is too short to be used."""
        if self.modality == "audio_visual" and self.corpora[self.train_corpus].cut:
            raise ValueError(f"corpora.{self.train_corpus}.cut is for modality: audio: leave it empty, each video is one utterance")
        for name, corpus in self.corpora.items():
            if corpus.cut and corpus.cut.shortest_seconds < self.pack.min_seconds:
                raise ValueError(f"corpora.{name}.cut.shortest_seconds is below pack.min_seconds, {self.pack.min_seconds:g}: raise it")
        return self

    @model_validator(mode="after")
    def _the_last_round_has_an_encoder(self) -> "Experiment":
        if "last_round" in self.encoder.last_round:
            raise ValueError("encoder.last_round: there is no last round of the last round")
        try:
            _last_rounds(self.encoder)
        except SettingsError as error:
            raise ValueError(f"encoder.last_round: {error}") from None
        return self

    @property
    def starts_from_ivectors(self) -> bool:
        """Whether stage I has an i-vector extractor instead of an encoder."""
        return self.pretrain.method == "ivector" and not self.initial_model

    def encoder_of(self, iteration: int) -> EncoderSettings:
        """The encoder that is trained in stage I (0), or in a round."""
        if iteration and iteration == self.rounds:
            return _last_rounds(self.encoder)
        return self.encoder.model_copy(update={"last_round": {}})

    def train_of(self, iteration: int) -> TrainSettings:
        """Stage II in a round: with its own threshold, and anew where its encoder is not the one that it would begin with."""
        thresholds = self.train.gate.fixed_threshold
        own = thresholds[iteration - 1] if isinstance(thresholds, tuple) else thresholds
        gate = self.train.gate.model_copy(update={"fixed_threshold": own})
        origin = iteration - 1 if self.train.start == "previous" else 0
        same = self.encoder_of(iteration) == self.encoder_of(origin) and not (origin == 0 and self.starts_from_ivectors)
        return self.train.model_copy(update={"gate": gate, "start": self.train.start if same else "new"})

    @model_validator(mode="after")
    def _rounds_are_possible(self) -> "Experiment":
        """Each round has a threshold; what only voices alone can do is not asked of voices and faces."""
        thresholds = self.train.gate.fixed_threshold
        if isinstance(thresholds, tuple) and len(thresholds) < self.rounds:
            raise ValueError(f"train.gate.fixed_threshold has {len(thresholds)} values for {self.rounds} rounds: give one for each")
        if self.modality == "audio":
            return self
        if self.train.objective_weight:
            raise ValueError("train.objective_weight is for modality: audio: stage I knows no faces")
        if self.train.start != "new":
            raise ValueError(f"train.start: {self.train.start} is for modality: audio: stage I has no face encoder to start from")
        if self.train.gate.trust != "threshold" or self.train.relabel_start_epoch is not None:
            raise ValueError(
                "train.gate.trust and train.relabel_start_epoch are for modality: audio: voice and face decide by their losses"
            )
        return self

    @model_validator(mode="after")
    def _ivectors_are_possible(self) -> "Experiment":
        """If stage I has no encoder with gradients, nothing tunes it, and no round keeps its objective."""
        if self.pretrain.method == "ivector" and self.train.objective_weight:
            raise ValueError("train.objective_weight keeps stage I's objective, but i-vectors (pretrain.method) have none: set it to 0")
        if not self.starts_from_ivectors:
            return self
        if self.ivector.cepstra.coefficients > self.features.mel_bins:
            raise ValueError(f"ivector.cepstra.coefficients is above features.mel_bins, which is {self.features.mel_bins}: lower it")
        tuned = {"finetune.starts": "iter_0" in self.finetune.starts, "large_margin.enabled": self.large_margin.enabled and not self.rounds}
        if keys := [key for key, starts in tuned.items() if starts]:
            raise ValueError(f"{keys[0]} would tune the encoder of iter_0, but i-vectors (pretrain.method) have none: start from a round")
        return self

    @model_validator(mode="after")
    def _finetuning_is_possible(self) -> "Experiment":
        """If there is fine-tuning: its encoders exist, its corpus exists, and no trial list draws on it."""
        tuning = self.finetune
        if not tuning.starts:
            return self
        systems = ["random", *(f"iter_{index}" for index in range(self.rounds + 1))]
        if unknown := [start for start in tuning.starts if start not in systems]:
            raise ValueError(f"finetune.starts: there is no '{unknown[0]}' with rounds: {self.rounds} (there are {', '.join(systems)})")
        if tuning.corpus not in self.corpora:
            raise ValueError(f"finetune.corpus '{tuning.corpus or ''}' is not one of the corpora ({', '.join(self.corpora)})")
        if tested := [name for name, trials in self.trials.items() if trials.corpus == tuning.corpus]:
            raise ValueError(
                f"finetune.corpus '{tuning.corpus}' is what trials.{tested[0]} draws on: systems would be tested on voices that they were "
                "taught. Name the labelled recordings, without those of the trials, as a corpus of their own"
            )
        return self


def _last_rounds(encoder: EncoderSettings) -> EncoderSettings:
    """`encoder` with the changes that its `last_round` names."""
    values = {key: value.model_dump() if isinstance(value, Section) else value for key, value in encoder}
    return validated(EncoderSettings, merged(values | {"last_round": {}}, encoder.last_round))


OWN_SHARDS = 4  # per corpus of an overlay that says nothing about them: pack jobs of a corpus that nobody has counted yet


def overlaid(defaults: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """`defaults` with the changes that `overlay` makes; neither is changed itself.

    Keys are merged one by one, but `corpora` and `trials` of the overlay replace the defaults' as a whole. With the corpora go
    the trial lists that draw on none of the new ones, and the number of shards, which was meant for the old ones.

    Args:
        defaults: a whole configuration, such as config.yaml's.
        overlay: all overlays, merged with each other.
    """
    config = merged(defaults, overlay) | {key: overlay[key] for key in ("corpora", "trials") if key in overlay}
    if not isinstance(corpora := overlay.get("corpora"), Mapping):
        return config
    # What is no mapping is left as it is: `resolve` refuses it by name.
    if "trials" not in overlay and isinstance(trials := config.get("trials"), Mapping):
        names = list(corpora)
        config["trials"] = {name: entry for name, entry in trials.items() if isinstance(entry, Mapping) and entry.get("corpus") in names}
    if isinstance(pack := config.get("pack", {}), Mapping) and "shards" not in overlay.get("pack", {}):
        config["pack"] = {**pack, "shards": OWN_SHARDS}
    return config


def resolve(config: Mapping[str, Any]) -> Experiment:
    """The experiment that `config` describes.

    Raises:
        SettingsError: a key is unknown, missing or out of range; the message names it.
    """
    if config.get("recipe", "none") not in RECIPES:
        raise SettingsError(OTHER_RECIPE)
    return validated(Experiment, config)


def recorded(file: Path) -> Experiment:
    """The experiment whose settings a run has written to `file`.

    Files of earlier versions have another `recipe`. It is left out: the values that it stood for are in the file.

    Raises:
        SettingsError: the file is damaged, or holds no settings of an experiment; the message names it.
    """
    values = read_file(file)
    try:
        return validated(Experiment, {key: value for key, value in values.items() if key != "recipe" or value in RECIPES})
    except SettingsError as error:
        raise SettingsError(f"{file} holds no settings of an experiment: {error}") from None
