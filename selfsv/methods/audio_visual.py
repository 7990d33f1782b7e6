"""Stage II on voices and faces: two encoders that share nothing but the labels (paper IV-C)."""

from functools import partial

from torch import Tensor

from selfsv.data.face_augment import FaceInput
from selfsv.data.face_batches import AudioVisualBatch, AudioVisualCrops
from selfsv.data.faces import PackedFaces
from selfsv.engine.runtime import Runtime
from selfsv.losses.joint_correction import decide_jointly
from selfsv.losses.label_correction import CleanOutputs
from selfsv.methods.dlg_lc import Decided, DlgLc, Segments
from selfsv.methods.inputs import Inputs
from selfsv.models.face_resnet34 import untrained_face_encoder
from selfsv.settings.jobs import TrainAvJob


class AudioVisualDlgLc(DlgLc):
    """Algorithm 1 with the joint decision of both modalities. Utterances without a face are decided by the voice alone.

    Args:
        faces: of the corpus.
        others: as for `DlgLc`.
    """

    _several = True

    def __init__(self, job: TrainAvJob, inputs: Inputs, faces: PackedFaces, labels: Tensor, stage: int, runtime: Runtime):
        super().__init__(job, inputs, labels, stage, runtime)
        self.name = f"audio-visual {self.name}"
        self._dataset = AudioVisualCrops(self._crops, faces, job.face_augmentation, job.seed, stage)
        self._face_input = FaceInput(job.face_encoder.input_side, runtime.device)
        encoder = untrained_face_encoder(job.face_encoder, job.seed, stage)
        self.modalities.append(self._modality("face", runtime.prepared(encoder), job.face_encoder.embedding, faces.count > 0))

    def _segments(self, batch: AudioVisualBatch) -> list[Segments]:
        """The voices, and the faces where any process has one."""
        faces = batch.faces
        places = faces.rows.to(self._labels.device, non_blocking=True)
        total = self._runtime.group.total(len(places))
        clean, augmented = partial(self._face_input, faces.clean), partial(self._face_input, faces.augmented, faces.params)
        return [*super()._segments(batch), *([Segments(self.modalities[1], places, total, clean, augmented)] if total else [])]

    def _decide(self, parts: list[Segments], clean: list[CleanOutputs], utterances: Tensor, y: Tensor, epoch: int) -> list[Decided]:
        """The voice's own decision, and that of both where there is a face (paper IV-C1)."""
        voice_alone = super()._decide(parts, clean, utterances, y, epoch)
        if len(parts) == 1:
            return voice_alone
        (decisions, labels, _), seen = voice_alone[0], parts[1].places
        voice, face = CleanOutputs(clean[0].loss[seen], clean[0].cosines[seen]), clean[1]
        gates = (parts[0].modality.gate.gate(epoch), parts[1].modality.gate.gate(epoch))
        correct = self.settings.gate.mode == "dlg_lc"
        joint = decide_jointly(voice, face, y[seen], self.settings.aam.scale, gates, correct=correct)
        voiced = Decided(decisions.index_copy(0, seen, joint.voice), labels.index_copy(0, seen, joint.labels))
        return [voiced, Decided(joint.face, joint.labels)]
