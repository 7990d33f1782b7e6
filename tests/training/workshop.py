"""What trains both methods on the cut of the demo corpus, for several test files."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from selfsv.data.augment import AugmentationSampler, Augmenter
from selfsv.data.banks import load_bank
from selfsv.data.batches import FeatureExtractor
from selfsv.data.corpus import PackedCorpus
from selfsv.data.faces import PackedFaces
from selfsv.data.features import LogMel
from selfsv.engine.checkpoints import StateFile
from selfsv.engine.history import TensorBoard
from selfsv.engine.loop import fit
from selfsv.engine.processes import Group
from selfsv.engine.runtime import Runtime
from selfsv.losses.classifiers import fresh_classifier
from selfsv.methods.audio_visual import AudioVisualDlgLc
from selfsv.methods.dlg_lc import DlgLc
from selfsv.methods.finetuning import FINETUNING, Tuning
from selfsv.methods.inputs import Inputs
from selfsv.methods.pretraining import Pretraining
from selfsv.methods.round_start import Start
from selfsv.models.encoders import untrained
from selfsv.settings.audio import AugmentationSettings, FeatureSettings
from selfsv.settings.clustering import PreparationSettings
from selfsv.settings.encoder import EncoderSettings
from selfsv.settings.faces import FaceAugmentationSettings, FaceEncoderSettings
from selfsv.settings.jobs import CompleteTuneJob, PretrainJob, TrainAvJob, TrainJob
from selfsv.settings.pretrain import PretrainSettings
from selfsv.settings.section import validated
from selfsv.settings.train import AamTraining, TrainSettings

CPU = torch.device("cpu")
ENCODER = EncoderSettings(channels=16, mfa_channels=24, bottleneck=8, embedding=12, embedding_batchnorm=True)
FACE_ENCODER = FaceEncoderSettings(width=4, blocks=(1, 1, 1, 1), input_side=32, embedding=12)
CROPS = {"long_seconds": 1.0, "short_seconds": 0.5}
HEAD = {"hidden": 16, "bottleneck": 8, "prototypes": 32, "batchnorm": False}
OPTIMISER = {"warmup_epochs": 1}
PRETRAIN: dict[str, Any] = {"epochs": 3, "batch_size": 8, "average_last": 2, "crops": CROPS, "head": HEAD, "optimiser": OPTIMISER}
TRAIN: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 8,
    "crop_seconds": 1.0,
    "aam": {"margin_start_epoch": 0, "margin_full_epoch": 1},
    "gate": {"mode": "dlg_lc", "gate_start_epoch": 2},
}
TUNE: dict[str, Any] = {"epochs": 3, "batch_size": 8, "crop_seconds": 1.0, "aam": {"margin_start_epoch": 0, "margin_full_epoch": 1}}


@dataclass
class Workshop:
    """Everything that a training needs, from the cut of the demo corpus."""

    packed: Any
    banks: tuple[Path, Path]
    packed_faces: Any
    group: Group = field(default_factory=Group)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    device: torch.device = CPU
    corpus: PackedCorpus = field(init=False)
    sampler: AugmentationSampler = field(init=False)
    features: FeatureExtractor = field(init=False)

    def __post_init__(self) -> None:
        noise, rirs = map(load_bank, self.banks)
        self.corpus = PackedCorpus(*self.packed.paths)
        self.sampler = AugmentationSampler(self.augmentation, noise.kind.numpy(), len(rirs))
        self.features = FeatureExtractor(Augmenter(noise, rirs, self.device), LogMel(FeatureSettings()), self.device)

    @staticmethod
    def runtime_of(group: Group, workers: int = 0, device: torch.device = CPU) -> Runtime:
        return Runtime(device, workers, bfloat16=device != CPU, compile=False, checkpoint_seconds=1e9, group=group)

    def runtime(self, workers: int = 0) -> Runtime:
        return self.runtime_of(self.group, workers, self.device)

    @property
    def inputs(self) -> Inputs:
        return Inputs(self.corpus, self.sampler, self.features)

    def job(self, **more: Any) -> dict[str, Any]:
        return {"seed": 1, "features": FeatureSettings(), "encoder": ENCODER, "augmentation": self.augmentation, **more}

    def pretraining(self, preparation: dict[str, Any] | None = None, **changes: Any) -> Pretraining:
        settings = validated(PretrainSettings, {**PRETRAIN, **changes})
        prepared = PreparationSettings(**{"subtract_mean": False, **(preparation or {})})
        return Pretraining(PretrainJob(**self.job(pretrain=settings, preparation=prepared)), self.inputs, self.runtime())

    @property
    def labels(self) -> Tensor:
        """[N] the talkers, as numbers."""
        return torch.tensor([sorted(set(self.packed.speakers)).index(speaker) for speaker in self.packed.speakers])

    def gated(self, labels: Tensor | None = None, **changes: Any) -> DlgLc:
        job = TrainJob(**self.job(train=validated(TrainSettings, {**TRAIN, **changes})))
        return DlgLc(job, self.inputs, self.labels if labels is None else labels, 1, self.runtime())

    def going_on(self, **changes: Any) -> DlgLc:
        """A round that begins with the weights of another encoder, and with random class means."""
        settings = validated(TrainSettings, {**TRAIN, **changes})
        pretrain = validated(PretrainSettings, PRETRAIN) if settings.objective_weight else None
        job, encoder = TrainJob(**self.job(train=settings, pretrain=pretrain)), untrained(ENCODER, 80, 2, 0)
        start = Start(encoder, torch.randn(int(self.labels.max()) + 1, ENCODER.embedding))
        return DlgLc(job, self.inputs, self.labels, 1, self.runtime(), start)

    def tuning(self, **changes: Any) -> Tuning:
        """Fine-tuning on the talkers, from random weights."""
        job = CompleteTuneJob(**self.job(tune=validated(AamTraining, {**TUNE, **changes})))
        encoder, classifier = untrained(ENCODER, 80, 1, 0), fresh_classifier(job.tune, 12, 6, 1, FINETUNING)
        labels = torch.from_numpy(pd.factorize(np.array(self.packed.speakers))[0])
        return Tuning("tuning", job, self.inputs, encoder, classifier, labels, FINETUNING, self.runtime())

    def audio_visual(self, **changes: Any) -> AudioVisualDlgLc:
        faces = PackedFaces(*self.packed_faces, self.corpus.utterances)
        more = {"require_face": False, "face_encoder": FACE_ENCODER, "face_augmentation": FaceAugmentationSettings()}
        job = TrainAvJob(**self.job(train=validated(TrainSettings, {**TRAIN, **changes}), **more))
        return AudioVisualDlgLc(job, self.inputs, faces, self.labels, 1, self.runtime())

    def trained(self, method, folder: Path, workers: int = 0) -> list[dict[str, Any]]:
        return fit(method, len(self.corpus), self.runtime(workers), StateFile(folder, "test", "key"), [TensorBoard(folder / "tensorboard")])


def weights(method) -> dict[str, Tensor]:
    if isinstance(method, Pretraining):
        return method.exported()
    if isinstance(method, Tuning):
        return method.network.encoder.state_dict()
    if type(method) is DlgLc:
        return method.weights("audio")
    return {f"{one.name}.{name}": value for one in method.modalities for name, value in one.network.encoder.state_dict().items()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def without_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if "second" not in key} for row in rows]


# Every objective of stage I, with all of its terms, in sizes of a test. The queue is no multiple of the batch.
OBJECTIVES: dict[str, dict[str, Any]] = {
    "dino": {"method": "dino", "dino": {"redundancy_weight": 0.04}},
    "dino with sinkhorn": {"method": "dino", "dino": {"centring": "sinkhorn", "koleo_weight": 0.1}},
    "simclr": {"method": "contrastive", "contrastive": {"margin": 0.1, "invariance_weight": 0.1}},
    "prototypical": {
        "method": "contrastive",
        "contrastive": {"loss": "angular_prototypical", "adversary_weight": 3.0, "adversary_hidden": 8},
    },
    "equilibrium": {"method": "contrastive", "contrastive": {"loss": "angular_contrastive", "uniformity_weight": 1.0}},
    "moco": {"method": "momentum_contrast", "momentum_contrast": {"queue": 20, "momentum": 0.9}},
    "sdpn": {
        "method": "sdpn",
        "crops": {**CROPS, "long_crops": 1},
        "sdpn": {"hidden": 16, "bottleneck": 8, "prototypes": 12, "correlation_weight": 0.1},
    },
}
AWARE = {"start_epoch": 1, "every_epochs": 1, "clusters": 6}
NEAREST = {**AWARE, "partners": "nearest_cluster"}
METHODS = {
    "pretraining": lambda workshop: workshop.pretraining(),
    "cluster-aware": lambda workshop: workshop.pretraining(cluster_aware=AWARE),
    "nearest-cluster": lambda workshop: workshop.pretraining(cluster_aware=NEAREST),
    "all-but-same": lambda workshop: workshop.pretraining(
        dino={"pairing": "all_but_same", "cosine_weight": 0.0, "redundancy_weight": 0.04}
    ),
    "gated": lambda workshop: workshop.gated(),
    "averaged": lambda workshop: workshop.gated(average_last=2),
    "going-on": lambda workshop: workshop.going_on(optimiser={"encoder_factor": 0.1}, classifier={"kind": "sub_centre"}),
    "relabelled": lambda workshop: workshop.gated(
        relabel_start_epoch=3, gate={"trust": "history", "history_epochs": 2, "gate_start_epoch": 2}
    ),
    "kept": lambda workshop: workshop.going_on(objective_weight=0.5),
    "posterior": lambda workshop: workshop.gated(
        gate={"trust": "posterior", "gate_start_epoch": 2, "segment": "augmented"},
        classifier={"kind": "sphereface2"},
        optimiser={"kind": "adam", "learning_rate": 1e-3},
    ),
    "audio-visual": lambda workshop: workshop.audio_visual(average_last=2),
    "tuning": lambda workshop: workshop.tuning(),
}
