"""Self-distillation prototypes network (Chen et al., 2023, 2025): DINO with few learnt prototypes that are all kept in use."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from selfsv.data.batches import ClusterPartners, PretrainBatch, PretrainCrops
from selfsv.engine.history import Row
from selfsv.engine.optimisation import cosine
from selfsv.engine.runtime import Runtime
from selfsv.losses.dino import dino_loss, entropy
from selfsv.losses.koleo import koleo
from selfsv.losses.mean_entropy import mean_entropy
from selfsv.losses.redundancy import correlation_norm
from selfsv.losses.sinkhorn import sinkhorn
from selfsv.methods.inputs import Inputs
from selfsv.methods.objective import StudentAndTeacher, collapse_warning, update_teacher
from selfsv.models.projection_head import ProjectionMlp
from selfsv.settings.jobs import PretrainJob
from selfsv.settings.objectives import SdpnSettings


class SdpnNetwork(nn.Module):
    """An encoder, its head, and the prototypes, which student and teacher share."""

    def __init__(self, encoder: nn.Module, embedding: int, settings: SdpnSettings):
        super().__init__()
        self.encoder = encoder
        self.head = ProjectionMlp(embedding, settings.hidden, settings.bottleneck, settings.batchnorm).initialise()
        bound = settings.bottleneck**-0.5
        self.prototypes = nn.Parameter(torch.empty(settings.prototypes, settings.bottleneck).uniform_(-bound, bound))

    def cosines(self, outputs: Tensor) -> Tensor:
        """[..., K], float32: of the head's outputs with every prototype."""
        return F.normalize(outputs.float(), dim=-1) @ F.normalize(self.prototypes, dim=1).T


class Objective(StudentAndTeacher[SdpnNetwork]):
    """SDPN as an `Objective` of stage I."""

    figures = ("loss", "loss_sdpn", "loss_mean_entropy", "loss_koleo", "loss_correlation", "teacher_entropy", "student_entropy")

    def __init__(self, job: PretrainJob, encoder: nn.Module, inputs: Inputs, runtime: Runtime):
        self._pretrain, self.settings, self._seed = job.pretrain, job.pretrain.sdpn, job.seed
        self._inputs, self._features, self._runtime, self._group = inputs, inputs.features, runtime, runtime.group
        super().__init__(SdpnNetwork(encoder, job.encoder.embedding, self.settings), runtime)
        self.teacher.register_parameter("prototypes", None)  # it is compared with the student's
        self.encoder = self.teacher.encoder
        self.last_layer: list[nn.Parameter] = []
        self.undecayed = [self.student.prototypes]

    def views(self, partners: ClusterPartners | None) -> Dataset:
        """Multi-crop views: long ones for the teacher, short ones for the student."""
        return PretrainCrops(self._inputs.corpus, self._inputs.sampler, self._pretrain.crops, self._seed, partners)

    def loss(self, batch: PretrainBatch, progress: float, share: float) -> list[Tensor]:
        """Cross-entropy against the teacher's assignment to prototypes, and what keeps prototypes and dimensions in use."""
        settings, size, group = self.settings, len(batch.utterances), self._group
        long, short = self._features(batch.long.clean()), self._features(batch.short)

        with torch.no_grad():
            with self._runtime.autocast():
                outputs = self.teacher.head(self.teacher.encoder(long))
            sharp = torch.softmax(self.student.cosines(outputs) / settings.teacher_temperature, dim=-1)
            teacher = sinkhorn(sharp, settings.sinkhorn_iterations, group.sum).unflatten(0, (-1, size))  # [V, B, K]
        with self._runtime.autocast():
            embeddings = self.student.encoder(short)
            outputs = self.student.head(embeddings)
        cosines = self.student.cosines(outputs).unflatten(0, (-1, size))  # [S, B, K]
        student = torch.softmax(cosines / settings.student_temperature, dim=-1)

        loss_sdpn = dino_loss(cosines, teacher, settings.student_temperature, "short_to_long")
        loss_mean_entropy = mean_entropy(student, group.sum)
        zero = loss_sdpn.new_zeros(())
        views = embeddings.unflatten(0, (-1, size))
        loss_koleo = koleo(views, *group.whole(views, 1)) if settings.koleo_weight else zero
        loss_correlation = correlation_norm(outputs, group.sum) if settings.correlation_weight else zero
        loss = loss_sdpn + settings.mean_entropy_weight * loss_mean_entropy + settings.koleo_weight * loss_koleo
        loss = loss + settings.correlation_weight * loss_correlation
        return [loss, loss_sdpn, loss_mean_entropy, loss_koleo, loss_correlation, entropy(teacher), entropy(student.detach())]

    def after_step(self, progress: float) -> None:
        """The teacher follows the student."""
        momentum = self._momentum(progress)
        update_teacher(self.teacher.encoder, self.student.encoder, momentum)
        update_teacher(self.teacher.head, self.student.head, momentum)

    def _momentum(self, progress: float) -> float:
        return cosine(self.settings.ema_start, 1.0, progress / self._pretrain.epochs)

    def end_epoch(self, epoch: int, means: dict[str, float]) -> Row:
        """The momentum in the middle of the epoch, and whether outputs have collapsed."""
        count = len(self.student.prototypes)
        figures = means["loss_sdpn"], means["teacher_entropy"], math.log(count) - means["loss_mean_entropy"]
        warning = collapse_warning(self._pretrain, epoch, *figures, count)
        return {"ema_momentum": self._momentum(epoch + 0.5), "warning": warning}
