"""Stage II on voices and faces: two encoders that share nothing but the labels (paper IV-C)."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor
from torch.utils.data import Dataset

from selfsv.data.batches import FeatureExtractor
from selfsv.data.face_augment import FaceInput
from selfsv.data.face_batches import AudioVisualBatch
from selfsv.engine.history import Row
from selfsv.losses.joint_correction import JointDecision, decide_jointly
from selfsv.losses.label_correction import CleanOutputs, decide
from selfsv.methods.learner import schedules
from selfsv.methods.modality_trainer import GatedBatch, ModalityTrainer
from selfsv.settings.train import TrainSettings


class ModalityTrainers(NamedTuple):
    """The two modalities."""

    voice: ModalityTrainer
    face: ModalityTrainer


class AudioVisualTraining:
    """DLG-LC on voices and faces as a `Method` of the training loop.

    Args:
        labels: [N] pseudo label of every utterance of the corpus, int64.
        crops: the dataset of clean and augmented segments and faces.
        stage: number of the round, 1 for the first.
    """

    def __init__(
        self,
        settings: TrainSettings,
        branches: ModalityTrainers,
        labels: Tensor,
        seed: int,
        stage: int,
        features: FeatureExtractor,
        face_input: FaceInput,
        crops: Dataset,
    ):
        self.name, self.stage = f"audio-visual DLG-LC round {stage}", stage
        self.settings, self.seed, self.epochs, self.batch_size = settings, seed, settings.epochs, settings.batch_size
        self.branches, self._features, self._face_input, self._crops = branches, features, face_input, crops
        self._labels = labels.to(features.device)

    def begin_epoch(self, epoch: int) -> Dataset:
        """The epoch's segments and faces."""
        for branch in self.branches:
            branch.encoder.train()
        return self._crops

    def step(self, batch: AudioVisualBatch, progress: float) -> None:
        """Algorithm 1 with the joint decision of both modalities; utterances without a face are decided by the voice alone."""
        voice, face = self.branches
        device = self._labels.device
        rows = batch.utterances.to(device, non_blocking=True)
        pseudo = self._labels[rows]
        heard = voice.clean(self._features(batch.clean), pseudo, progress)
        decisions = decide(heard.loss, heard.cosines, self.settings.aam.scale, voice.gate(int(progress)))
        gated = GatedBatch(rows, pseudo, heard, decisions, pseudo)
        if voice.group.total(len(batch.faces.rows)):
            seen = batch.faces.rows.to(device, non_blocking=True)
            looked = face.clean(self._face_input(batch.faces.clean), pseudo[seen], progress)
            joint = self._decide(CleanOutputs(heard.loss[seen], heard.cosines[seen]), looked, pseudo[seen], int(progress))
            for_face = GatedBatch(rows[seen], pseudo[seen], looked, joint.face, joint.labels)
            face.learn(for_face, self._face_input(batch.faces.augmented, batch.faces.params), progress)
            voiced = decisions.index_copy(0, seen, joint.voice), pseudo.index_copy(0, seen, joint.labels)
            gated = gated._replace(decisions=voiced[0], labels=voiced[1])
        voice.learn(gated, self._features(batch.augmented), progress)

    def _decide(self, heard: CleanOutputs, looked: CleanOutputs, pseudo: Tensor, epoch: int) -> JointDecision:
        gates = self.branches.voice.gate(epoch), self.branches.face.gate(epoch)
        correct = self.settings.gate.mode == "dlg_lc"
        return decide_jointly(heard, looked, pseudo, self.settings.aam.scale, gates, correct=correct)

    def end_epoch(self, epoch: int) -> Row:
        """Figures of the epoch: the voice's under their usual names, the face's with a prefix."""
        voice, face = (branch.end_epoch(epoch) for branch in self.branches)
        warnings = [f"{name}: {row['warning']}" for name, row in (("voice", voice), ("face", face)) if row["warning"]]
        faces = {f"face_{name}": value for name, value in face.items() if name != "warning"}
        return {**voice, **faces, **schedules(self.settings, epoch), "warning": "; ".join(warnings)}

    def finalize(self, batches: Callable[[], Iterable[AudioVisualBatch]]) -> None:
        """End the training: put the averages of the last epochs in the encoders' places, where the settings ask for them.

        Args:
            batches: makes those of one more epoch; called for each modality.
        """
        voice, face = self.branches
        voice.finalize(self._features(views) for batch in batches() for views in (batch.clean, batch.augmented))
        face.finalize(faces for batch in batches() if voice.group.total(len(batch.faces.rows)) for faces in self._both_faces(batch))

    def _both_faces(self, batch: AudioVisualBatch) -> Iterator[Tensor]:
        """The clean faces of a batch, then the augmented ones."""
        yield self._face_input(batch.faces.clean)
        yield self._face_input(batch.faces.augmented, batch.faces.params)

    @property
    def gate_rows(self) -> list[Row]:
        """`gate.parquet`: a row per epoch and modality."""
        return [row for branch in self.branches for row in branch.gate_rows]

    def losses(self, utterances: np.ndarray) -> pd.DataFrame:
        """`losses.parquet`: the last epoch's clean losses and decisions of every utterance."""
        (loss, decision), (face_loss, face_decision) = (branch.recorded() for branch in self.branches)
        columns = {"loss_clean": loss, "decision": decision, "face_loss_clean": face_loss, "face_decision": face_decision}
        return pd.DataFrame({"utterance": utterances, **columns})

    def is_finite(self) -> bool:
        """Whether all figures of the epoch so far are finite."""
        return all(branch.is_finite() for branch in self.branches)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {branch.modality: branch.state_dict() for branch in self.branches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        for branch in self.branches:
            branch.load_state_dict(state[branch.modality])
