"""Stage II: a new encoder on pseudo labels, with the dynamic loss-gate and label correction (paper IV, Algorithm 1)."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor
from torch.utils.data import Dataset

from selfsv.data.batches import FeatureExtractor, TrainBatch
from selfsv.engine.history import Row
from selfsv.losses.label_correction import decide
from selfsv.methods.learner import schedules
from selfsv.methods.modality_trainer import GatedBatch, ModalityTrainer
from selfsv.settings.train import TrainSettings


class GatedTraining:
    """DLG-LC on voices as a `Method` of the training loop.

    Args:
        voice: the encoder to train.
        labels: [N] pseudo label of every utterance of the corpus, int64.
        crops: the dataset of clean and augmented segments.
        stage: number of the round, 1 for the first.
    """

    def __init__(
        self,
        settings: TrainSettings,
        voice: ModalityTrainer,
        labels: Tensor,
        seed: int,
        stage: int,
        features: FeatureExtractor,
        crops: Dataset,
    ):
        self.name, self.stage = f"DLG-LC round {stage}", stage
        self.settings, self.seed, self.epochs, self.batch_size = settings, seed, settings.epochs, settings.batch_size
        self.voice, self._features, self._crops = voice, features, crops
        self._labels = labels.to(features.device)

    def begin_epoch(self, epoch: int) -> Dataset:
        """The epoch's segments."""
        self.voice.encoder.train()
        return self._crops

    def step(self, batch: TrainBatch, progress: float) -> None:
        """Algorithm 1 on a mini-batch."""
        rows = batch.utterances.to(self._labels.device, non_blocking=True)
        labels = self._labels[rows]
        clean = self.voice.clean(self._features(batch.clean), labels, progress)
        decisions = decide(clean.loss, clean.cosines, self.settings.aam.scale, self.voice.gate(int(progress)))
        self.voice.learn(GatedBatch(rows, labels, clean, decisions, labels), self._features(batch.augmented), progress)

    def end_epoch(self, epoch: int) -> Row:
        """Figures of the epoch."""
        return {**self.voice.end_epoch(epoch), **schedules(self.settings, epoch)}

    def finalize(self, batches: Callable[[], Iterable[TrainBatch]]) -> None:
        """End the training: put the average of the last epochs in the encoder's place, where the settings ask for one.

        Args:
            batches: makes those of one more epoch.
        """
        self.voice.finalize(self._features(views) for batch in batches() for views in (batch.clean, batch.augmented))

    @property
    def gate_rows(self) -> list[Row]:
        """`gate.parquet`: a row per epoch."""
        return self.voice.gate_rows

    def losses(self, utterances: np.ndarray) -> pd.DataFrame:
        """`losses.parquet`: the last epoch's clean loss and decision of every utterance."""
        loss, decision = self.voice.recorded()
        return pd.DataFrame({"utterance": utterances, "loss_clean": loss, "decision": decision})

    def is_finite(self) -> bool:
        """Whether all figures of the epoch so far are finite."""
        return self.voice.is_finite()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return self.voice.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        self.voice.load_state_dict(state)
