"""The whole configuration: what config.yaml may contain, and what the two recipes fill in."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from selfsv.settings.audio import AugmentationSettings, FeatureSettings
from selfsv.settings.clustering import ClusterSettings
from selfsv.settings.data import Corpus, NoiseSettings, PackSettings, RejectionSettings, RirSettings, TrialList
from selfsv.settings.encoder import EncoderSettings
from selfsv.settings.faces import FaceSettings
from selfsv.settings.pretrain import PretrainSettings
from selfsv.settings.runtime import RuntimeSettings
from selfsv.settings.scoring import MetricSettings, ScoreSettings
from selfsv.settings.section import NonNegative, Section, validated
from selfsv.settings.train import TrainSettings
from selfsv.settings.tuning import FinetuneSettings, LargeMarginSettings

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]

# What a key left empty (null) becomes. `paper` is the paper; `strong` is the authors' later open DINO recipe.
RECIPES: dict[str, dict[str, Any]] = {
    "paper": {
        "encoder.embedding_batchnorm": False,
        "pretrain.head.batchnorm": False,
        "pretrain.dino.pairing": "short_to_long",
        "pretrain.dino.teacher_temperature_start": 0.04,
        "pretrain.dino.teacher_temperature": 0.04,
        "pretrain.dino.teacher_temperature_epochs": 0,
        "pretrain.dino.cosine_weight": 1.0,
        "pretrain.optimiser.final_learning_rate": 1e-5,
        "pretrain.average_last": 1,
        "train.average_last": 1,
        "large_margin.enabled": False,
        "cluster.subtract_mean": False,
        "score.subtract_mean": False,
    },
    "strong": {
        "encoder.embedding_batchnorm": True,
        "pretrain.head.batchnorm": True,
        "pretrain.dino.pairing": "all_but_same",
        "pretrain.dino.teacher_temperature_start": 0.04,
        "pretrain.dino.teacher_temperature": 0.07,
        "pretrain.dino.teacher_temperature_epochs": 30,
        "pretrain.dino.cosine_weight": 0.0,
        "pretrain.optimiser.final_learning_rate": 5e-5,
        "pretrain.average_last": 10,
        "train.average_last": 10,
        "large_margin.enabled": True,
        "cluster.subtract_mean": True,
        "score.subtract_mean": True,
    },
}


class Experiment(Section):
    """Everything that defines an experiment; config.yaml spells out each key."""

    experiment: Name = Field(description="names the folder results/{experiment}")
    seed: NonNegative = Field(1, description="of every random draw")
    recipe: Literal["paper", "strong"] = Field("paper", description="fills the keys that are left empty")
    modality: Literal["audio", "audio_visual"] = Field(
        "audio", description="audio_visual: DLG-LC on voices and faces [paper IV-C, Table IX]; tests are on audio alone either way"
    )
    rounds: NonNegative = Field(3, description="DLG-LC iterations after CA-DINO [paper Table VIII]")
    initial_model: str | None = Field(
        None, description="another experiment's iter_0/model.pt to start the rounds from, instead of training CA-DINO; empty: train it"
    )
    baselines: bool = Field(True, description="also score fbank statistics, as they are and whitened, and an untrained encoder")
    train_corpus: Name = Field("train", description="the corpus to learn from, without its labels")
    corpora: dict[Name, Corpus] = Field(description="the training corpus and those that the trials draw on")
    trials: dict[Name, TrialList] = Field({}, description="lists to score")
    pack: PackSettings = PackSettings()
    rejection: RejectionSettings = RejectionSettings()
    noise: NoiseSettings = NoiseSettings()
    rirs: RirSettings = RirSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    features: FeatureSettings = FeatureSettings()
    encoder: EncoderSettings = EncoderSettings()
    pretrain: PretrainSettings = PretrainSettings()
    cluster: ClusterSettings = ClusterSettings()
    train: TrainSettings = TrainSettings()
    large_margin: LargeMarginSettings = LargeMarginSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    faces: FaceSettings = FaceSettings()
    score: ScoreSettings = ScoreSettings()
    metrics: MetricSettings = MetricSettings()
    runtime: RuntimeSettings = RuntimeSettings()

    @model_validator(mode="after")
    def _names_resolve(self) -> "Experiment":
        if self.train_corpus not in self.corpora:
            raise ValueError(f"train_corpus '{self.train_corpus}' is not one of the corpora ({', '.join(self.corpora)})")
        for name, trials in self.trials.items():
            if trials.corpus not in self.corpora:
                raise ValueError(f"trials.{name}.corpus '{trials.corpus}' is not one of the corpora ({', '.join(self.corpora)})")
        return self

    @model_validator(mode="after")
    def _finetuning_is_possible(self) -> "Experiment":
        """Where there is any: its encoders exist, and its corpus is there, and not tested on."""
        tuning = self.finetune
        if not tuning.starts:
            return self
        made = ["random", *(f"iter_{index}" for index in range(self.rounds + 1))]
        if unknown := [start for start in tuning.starts if start not in made]:
            raise ValueError(f"finetune.starts: there is no '{unknown[0]}' with rounds: {self.rounds} (there are {', '.join(made)})")
        if tuning.corpus not in self.corpora:
            raise ValueError(f"finetune.corpus '{tuning.corpus or ''}' is not one of the corpora ({', '.join(self.corpora)})")
        if tested := [name for name, trials in self.trials.items() if trials.corpus == tuning.corpus]:
            raise ValueError(
                f"finetune.corpus '{tuning.corpus}' is what trials.{tested[0]} draws on: systems would be tested on voices that they were "
                "taught. Name the labelled recordings, without those of the trials, as a corpus of their own"
            )
        return self


OWN_SHARDS = 4  # per corpus of an overlay that says nothing about them: pack jobs of a corpus that nobody has counted yet


def overlaid(config: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """`config` with what it says about corpora that `overlay` replaces taken away.

    Keys are merged one by one, but `corpora` and `trials` of an overlay take the place of those below it as a whole. With the
    corpora go the trial lists that draw on none of the new ones, and the number of shards, which was meant for the old ones.

    Args:
        config: everything merged key by key, `overlay` included.
        overlay: what all overlays together say.
    """
    whole: dict[str, Any] = {key: overlay[key] for key in ("corpora", "trials") if key in overlay}
    replaced = {**config, **whole}
    own = overlay.get("corpora")
    if not isinstance(own, dict):
        return replaced
    if "trials" not in overlay:
        replaced["trials"] = {name: entry for name, entry in config.get("trials", {}).items() if entry["corpus"] in own}
    pack = overlay.get("pack", {})
    if isinstance(pack, dict) and "shards" not in pack:
        replaced["pack"] = {**config.get("pack", {}), "shards": OWN_SHARDS}
    return replaced


def resolve(config: dict[str, Any]) -> Experiment:
    """The experiment that `config` describes, with the recipe's values where keys are empty.

    Raises:
        SettingsError: a key is unknown, missing or out of range; the message names it.
    """
    experiment = validated(Experiment, config)
    values = experiment.model_dump()
    for key, value in RECIPES[experiment.recipe].items():
        *parents, last = key.split(".")
        section = values
        for parent in parents:
            section = section[parent]
        if section[last] is None:
            section[last] = value
    return validated(Experiment, values)
