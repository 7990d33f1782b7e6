"""CA-DINO (paper III): a student learns what a slowly moving teacher makes of other crops of the same voice."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from selfsv.data.batches import ClusterPartners, PretrainBatch, PretrainCrops
from selfsv.engine.diagnostics import few_directions
from selfsv.engine.figures import EmbeddingMoments
from selfsv.engine.history import Row
from selfsv.engine.optimisation import cosine, linear
from selfsv.engine.runtime import Runtime
from selfsv.losses.dino import agreement, cosine_consistency, dino_loss, entropy, teacher_probabilities, updated_centre
from selfsv.losses.koleo import koleo
from selfsv.losses.redundancy import redundancy
from selfsv.losses.sinkhorn import sinkhorn
from selfsv.methods.inputs import Inputs
from selfsv.methods.objective import StudentAndTeacher, collapse_warning, update_teacher
from selfsv.models.projection_head import ProjectionHead
from selfsv.settings.jobs import PretrainJob


class DinoNetwork(nn.Module):
    """An encoder and its projection head."""

    def __init__(self, encoder: nn.Module, head: ProjectionHead):
        super().__init__()
        self.encoder, self.head = encoder, head


class Objective(StudentAndTeacher[DinoNetwork]):
    """DINO as an `Objective` of stage I; with cluster partners it is CA-DINO (paper III-B)."""

    figures = ("loss", "loss_dino", "loss_cosine", "loss_redundancy", "loss_koleo", "teacher_entropy", "student_entropy", "agreement")

    def __init__(self, job: PretrainJob, encoder: nn.Module, inputs: Inputs, runtime: Runtime):
        self._pretrain, self.settings, self._seed = job.pretrain, job.pretrain.dino, job.seed
        self._inputs, self._features, self._runtime, self._group = inputs, inputs.features, runtime, runtime.group
        super().__init__(DinoNetwork(encoder, ProjectionHead(job.pretrain.head, job.encoder.embedding)), runtime)
        self.encoder = self.teacher.encoder
        self.last_layer = list(self.student.head.prototypes.parameters())
        self.undecayed: list[nn.Parameter] = []
        self.centre = torch.zeros(job.pretrain.head.prototypes, device=runtime.device)
        self._moments = EmbeddingMoments(job.encoder.embedding, runtime.group, runtime.device)
        self._begin_epoch()

    def views(self, partners: ClusterPartners | None) -> Dataset:
        """Multi-crop views: long and short ones (paper V-D1)."""
        return PretrainCrops(self._inputs.corpus, self._inputs.sampler, self._pretrain.crops, self._seed, partners)

    def loss(self, batch: PretrainBatch, progress: float, share: float) -> list[Tensor]:
        """Eq. 2 on the teacher of Eq. 3, and Eq. 5; Eq. 4 is `after_step`."""
        dino, views = self.settings, len(batch.long.samples)
        long, short = self._features(batch.long), self._features(batch.short)

        with torch.no_grad(), self._runtime.autocast():
            teacher_embeddings = self.teacher.encoder(long)
            teacher_logits = self.teacher.head(teacher_embeddings).unflatten(0, (views, -1))
        teacher = self._teacher_probabilities(teacher_logits, self._teacher_temperature(progress))
        with self._runtime.autocast():
            embeddings, logits = self._student_outputs(long, short, views)

        loss_dino = dino_loss(logits, teacher, dino.student_temperature, dino.pairing)  # Eq. 2
        zero = loss_dino.new_zeros(())
        loss_cosine = cosine_consistency(embeddings, views) if dino.cosine_weight else zero  # Eq. 5
        loss_redundancy = redundancy(embeddings, self._group.sum) if dino.redundancy_weight else zero  # not in the paper
        loss_koleo = koleo(embeddings, *self._group.whole(embeddings, 1)) if dino.koleo_weight else zero  # nor is this
        # The mean over pairs, not the sums of Eq. 2 (8 terms) and Eq. 5 (10): alpha = 1 weighs 8/10 of what it does there.
        loss = loss_dino + dino.cosine_weight * loss_cosine + dino.redundancy_weight * loss_redundancy
        loss = loss + dino.koleo_weight * loss_koleo

        self._count(teacher_logits, teacher, share)
        self._moments.add(teacher_embeddings)
        student = torch.softmax(logits.detach().float() / dino.student_temperature, dim=-1)
        agreed = agreement(logits, teacher, dino.pairing)
        return [loss, loss_dino, loss_cosine, loss_redundancy, loss_koleo, entropy(teacher), entropy(student), agreed]

    def _teacher_probabilities(self, logits: Tensor, temperature: float) -> Tensor:
        """[V, B, K] from logits of that shape: sharpened by the temperature, and kept from one prototype for everything."""
        if self.settings.centring == "centre":
            return teacher_probabilities(logits, self.centre, temperature)  # Eq. 3
        sharp = torch.softmax(logits.float() / temperature, dim=-1)
        return sinkhorn(sharp, self.settings.sinkhorn_iterations, self._group.sum)

    def after_step(self, progress: float) -> None:
        """Eq. 4: the teacher follows the student, and the centre the teacher's outputs."""
        update_teacher(self.teacher, self.student, self._momentum(progress))
        self.centre = updated_centre(self.centre, self._mean_logits[None], self.settings.centre_momentum)

    def _student_outputs(self, long: Tensor, short: Tensor, views: int) -> tuple[Tensor, Tensor]:
        """Embeddings of the student's views (long ones first), and the logits of those that the pairing uses.

        The student sees the long crops only where a loss needs them.
        """
        everywhere = self.settings.pairing == "all_but_same"
        parts = []
        if everywhere or self.settings.cosine_weight:
            parts.append(self.student.encoder(long).unflatten(0, (views, -1)))
        if len(short):
            parts.append(self.student.encoder(short).unflatten(0, (-1, len(long) // views)))
        embeddings = torch.cat(parts)
        used = embeddings if everywhere or len(parts) == 1 else parts[1]
        return embeddings, self.student.head(used.flatten(0, 1)).unflatten(0, used.shape[:2])

    # Schedules --------------------------------------------------------------------------------------------------------

    def _momentum(self, progress: float) -> float:
        """0 makes the teacher a copy of the student (`ema: none`)."""
        return cosine(self.settings.ema_start, 1.0, progress / self._pretrain.epochs) if self.settings.ema == "cosine" else 0.0

    def _teacher_temperature(self, progress: float) -> float:
        end = self.settings.teacher_temperature
        start, epochs = self.settings.teacher_temperature_start, self.settings.teacher_temperature_epochs
        return linear(start, end, progress / epochs) if epochs else end

    # Figures and state ------------------------------------------------------------------------------------------------

    def _begin_epoch(self) -> None:
        self._steps, self._mean_output = 0, torch.zeros_like(self.centre)

    @torch.no_grad()
    def _count(self, teacher_logits: Tensor, teacher: Tensor, share: float) -> None:
        """Take the means of the teacher's outputs over all processes: for the centre, and to see a collapse.

        Args:
            teacher_logits, teacher: [V, B, K].
        """
        self._mean_logits = self._group.sum(share * teacher_logits.float().flatten(0, -2).mean(dim=0))
        self._mean_output += self._group.sum(share * teacher.flatten(0, 1).mean(dim=0))
        self._steps += 1

    def end_epoch(self, epoch: int, means: dict[str, float]) -> Row:
        """Schedules in the middle of the epoch, the teacher's effective dimensions, and whether it has collapsed."""
        figures = means["loss_dino"], means["teacher_entropy"], float(entropy(self._mean_output / self._steps))
        dimensions = self._moments.close()
        warning = collapse_warning(self._pretrain, epoch, *figures, len(self.centre))
        if not warning and epoch >= max(1, self._pretrain.optimiser.warmup_epochs):
            warning = few_directions(dimensions)
        self._begin_epoch()
        schedules = {"ema_momentum": self._momentum(epoch + 0.5), "teacher_temperature": self._teacher_temperature(epoch + 0.5)}
        return {**schedules, "effective_dimensions": dimensions, "warning": warning}

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        figures = {"steps": self._steps, "mean_output": self._mean_output, "moments": self._moments.state_dict()}
        return {**super().state_dict(), "centre": self.centre, **figures}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        super().load_state_dict(state)
        self.centre, self._mean_output = (state[name].to(self._runtime.device) for name in ("centre", "mean_output"))
        self._steps = state["steps"]
        self._moments.load_state_dict(state["moments"])
