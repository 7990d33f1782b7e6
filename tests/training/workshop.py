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
from selfsv.data.batches import FeatureExtractor, PretrainCrops, TrainCrops, TuneCrops
from selfsv.data.corpus import PackedCorpus
from selfsv.data.crops import ClusterPartners
from selfsv.data.face_augment import FaceInput
from selfsv.data.face_batches import AudioVisualCrops
from selfsv.data.faces import PackedFaces
from selfsv.data.features import LogMel
from selfsv.engine.checkpoints import StateFile
from selfsv.engine.extraction import extract_embeddings
from selfsv.engine.loop import extra_epoch, fit
from selfsv.engine.processes import Group
from selfsv.engine.runtime import Runtime
from selfsv.methods.audio_visual import AudioVisualTraining, ModalityTrainers
from selfsv.methods.ca_dino import Pretraining
from selfsv.methods.dlg_lc import GatedTraining
from selfsv.methods.finetuning import FINETUNING, Tuning, fresh_classifier
from selfsv.methods.learner import AamLearner
from selfsv.methods.modality_trainer import ModalityTrainer
from selfsv.models.ecapa import untrained
from selfsv.models.resnet34 import untrained_face_encoder
from selfsv.settings.audio import AugmentationSettings, FeatureSettings
from selfsv.settings.encoder import EncoderSettings
from selfsv.settings.faces import FaceAugmentationSettings, FaceEncoderSettings
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

    def pretraining(self, seen: list[ClusterPartners | None] | None = None, **changes: Any) -> Pretraining:
        settings = validated(PretrainSettings, {**PRETRAIN, **changes})

        def crops(partners: ClusterPartners | None) -> PretrainCrops:
            if seen is not None:
                seen.append(partners)
            return PretrainCrops(self.corpus, self.sampler, settings.crops, 1, partners)

        def extract(encoder: torch.nn.Module) -> np.ndarray:
            return extract_embeddings(encoder, LogMel(FeatureSettings()), self.corpus, self.runtime())

        return Pretraining(settings, untrained(ENCODER, 80, 1, 0), 12, 1, self.runtime(), self.features, crops, extract)

    def gated(self, **changes: Any) -> GatedTraining:
        settings = validated(TrainSettings, {**TRAIN, **changes})
        labels = torch.tensor([sorted(set(self.packed.speakers)).index(speaker) for speaker in self.packed.speakers])
        voice = ModalityTrainer("audio", settings, untrained(ENCODER, 80, 1, 1), 12, 6, np.ones(len(labels), bool), self.runtime())
        return GatedTraining(settings, voice, labels, 1, 1, self.features, self.segments(settings))

    def tuning(self, **changes: Any) -> Tuning:
        """Fine-tuning on the talkers, from random weights."""
        settings = validated(AamTraining, {**TUNE, **changes})
        encoder, classifier = untrained(ENCODER, 80, 1, 0), fresh_classifier(12, 6, 1, FINETUNING)
        learner = AamLearner(settings, encoder, classifier, self.runtime())
        crops = TuneCrops(self.corpus, self.sampler, settings.crop_seconds, 1, FINETUNING)
        labels = torch.from_numpy(pd.factorize(np.array(self.packed.speakers))[0])
        return Tuning("tuning", settings, learner, labels, 1, FINETUNING, self.features, crops)

    def segments(self, settings: TrainSettings) -> TrainCrops:
        return TrainCrops(self.corpus, self.sampler, settings.crop_seconds, 1, 1)

    def audio_visual(self, **changes: Any) -> AudioVisualTraining:
        settings = validated(TrainSettings, {**TRAIN, **changes})
        labels = torch.tensor([sorted(set(self.packed.speakers)).index(speaker) for speaker in self.packed.speakers])
        faces = PackedFaces(*self.packed_faces, self.corpus.utterances)
        present = np.ones(len(labels), bool), faces.count > 0
        encoders = untrained(ENCODER, 80, 1, 1), untrained_face_encoder(FACE_ENCODER, 1, 1)
        branches = ModalityTrainers(
            *(
                ModalityTrainer(modality, settings, encoder, 12, 6, who, self.runtime(), several=True)
                for modality, encoder, who in zip(("audio", "face"), encoders, present, strict=True)
            )
        )
        pairs = AudioVisualCrops(self.segments(settings), faces, FaceAugmentationSettings(), 1, 1)
        return AudioVisualTraining(settings, branches, labels, 1, 1, self.features, FaceInput(32, self.device), pairs)

    def trained(self, method, folder: Path, workers: int = 0) -> list[dict[str, Any]]:
        runtime = self.runtime(workers)
        rows = fit(method, len(self.corpus), runtime, StateFile(folder, "test", "key"), folder / "tensorboard")
        if hasattr(method, "finalize"):
            method.finalize(lambda: extra_epoch(method, len(self.corpus), runtime))
        return rows


def weights(method) -> dict[str, Tensor]:
    if isinstance(method, Pretraining):
        return method.exported()
    if isinstance(method, Tuning):
        return method.learner.encoder.state_dict()
    if isinstance(method, GatedTraining):
        return method.voice.encoder.state_dict()
    return {f"{branch.modality}.{name}": value for branch in method.branches for name, value in branch.encoder.state_dict().items()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def without_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if "second" not in key} for row in rows]


AWARE = {"start_epoch": 1, "every_epochs": 1, "clusters": 6}
METHODS = {
    "pretraining": lambda workshop: workshop.pretraining(),
    "cluster-aware": lambda workshop: workshop.pretraining(cluster_aware=AWARE),
    "all-but-same": lambda workshop: workshop.pretraining(
        dino={"pairing": "all_but_same", "cosine_weight": 0.0, "redundancy_weight": 0.04}
    ),
    "gated": lambda workshop: workshop.gated(),
    "averaged": lambda workshop: workshop.gated(average_last=2),
    "audio-visual": lambda workshop: workshop.audio_visual(average_last=2),
    "tuning": lambda workshop: workshop.tuning(),
}
