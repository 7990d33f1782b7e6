"""Stage I: CA-DINO (paper III). A student learns what a slowly moving teacher makes of other crops of the same voice."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from selfsv.clustering.kmeans import centred_unit, spherical_kmeans
from selfsv.data.batches import FeatureExtractor, PretrainBatch
from selfsv.data.crops import ClusterPartners
from selfsv.engine.clipping import clip_each
from selfsv.engine.diagnostics import all_finite, collapse
from selfsv.engine.ema import WeightAverage, update_teacher
from selfsv.engine.history import Row
from selfsv.engine.runtime import Runtime
from selfsv.engine.schedules import cosine, linear, warmup_then_cosine
from selfsv.errors import TrainingError
from selfsv.losses.dino import cosine_consistency, dino_loss, entropy, teacher_probabilities, updated_centre
from selfsv.losses.redundancy import redundancy
from selfsv.models.projection_head import ProjectionHead
from selfsv.settings.pretrain import PretrainSettings

WITHOUT_CHANGE = partial(centred_unit, subtract_mean=False)
REFERENCE_BATCH = 256  # the batch for which learning rates are given
FIGURES = (
    "loss",
    "loss_dino",
    "loss_cosine",
    "loss_redundancy",
    "teacher_entropy",
    "student_entropy",
    "gradient_norm",
    "gradient_clipped",
)


class DinoNetwork(nn.Module):
    """An encoder and its projection head."""

    def __init__(self, encoder: nn.Module, head: ProjectionHead):
        super().__init__()
        self.encoder, self.head = encoder, head


class Pretraining:
    """CA-DINO as a `Method` of the training loop.

    Args:
        encoder: fresh, with an attribute of its embedding's size in `embedding`.
        extract: the embeddings [N, D] of all utterances, clean and whole, by a given encoder.
        prepare: what clusters are made of, [N, D] of length 1, from those embeddings: as for the pseudo labels.
        crops: the dataset of multi-crop views with given cluster partners (None: plain DINO).
    """

    name, stage = "CA-DINO", 0

    def __init__(
        self,
        settings: PretrainSettings,
        encoder: nn.Module,
        embedding: int,
        seed: int,
        runtime: Runtime,
        features: FeatureExtractor,
        crops: Callable[[ClusterPartners | None], Dataset],
        extract: Callable[[nn.Module], np.ndarray],
        prepare: Callable[[np.ndarray], np.ndarray] = WITHOUT_CHANGE,
    ):
        self.settings, self.seed, self.epochs, self.batch_size = settings, seed, settings.epochs, settings.batch_size
        self._runtime, self._features, self._crops, self._extract, self._prepare = runtime, features, crops, extract, prepare
        dino = settings.dino
        self._cosine_weight = 1.0 if dino.cosine_weight is None else dino.cosine_weight
        network = DinoNetwork(encoder, ProjectionHead(settings.head, embedding))
        self._group = runtime.group
        self.student = runtime.placed(network)
        self.teacher = copy.deepcopy(network).requires_grad_(False)
        for module in (self.student.encoder, self.teacher.encoder):
            runtime.prepared(module)
        self.centre = torch.zeros(settings.head.prototypes, device=runtime.device)
        self._optimiser = sgd(self.student, settings, fused=runtime.device.type == "cuda")
        self._average = WeightAverage()
        self._labels: Tensor | None = None
        self._reset_figures()

    # An epoch ---------------------------------------------------------------------------------------------------------

    def begin_epoch(self, epoch: int) -> Dataset:
        """Cluster anew where the schedule says so; the epoch's crops. A resumed epoch finds its clusters in the state."""
        aware = self.settings.cluster_aware
        due = epoch >= aware.start_epoch and (epoch - aware.start_epoch) % aware.every_epochs == 0
        if due and self._clustered_in != epoch:
            embeddings = self._extract(self.teacher.encoder)
            self._labels = torch.from_numpy(self._group.on_first_rank(lambda: self._clustered(embeddings, epoch)))
            self._clustered_in = epoch
        self.student.train()
        self.teacher.train()
        return self._crops(None if self._labels is None else ClusterPartners(self._labels.numpy()))

    def _clustered(self, embeddings: np.ndarray, epoch: int) -> np.ndarray:
        """[N] int64 the cluster of every utterance."""
        aware = self.settings.cluster_aware
        effort = {"iterations": aware.iterations, "points_per_cluster": aware.points_per_cluster, "restarts": 1}
        # The other processes of the machine wait meanwhile, so this one takes their cores.
        with self._runtime.all_cores():
            return spherical_kmeans(self._prepare(embeddings), aware.clusters, **effort, seed=self.seed + epoch).labels

    def step(self, batch: PretrainBatch, progress: float) -> None:
        """One update of student, teacher and centre."""
        dino, optimiser = self.settings.dino, self.settings.optimiser
        long, short = self._features(batch.long), self._features(batch.short)
        views = len(batch.long.samples)
        share = len(batch.utterances) / self._group.total(len(batch.utterances))

        with torch.no_grad(), self._runtime.autocast():
            teacher_logits = self.teacher.head(self.teacher.encoder(long)).unflatten(0, (views, -1))
        teacher = teacher_probabilities(teacher_logits, self.centre, self._teacher_temperature(progress))

        with self._runtime.autocast():
            embeddings, logits = self._student_outputs(long, short, views)
        loss_dino = dino_loss(logits, teacher, dino.student_temperature, dino.pairing or "short_to_long")
        none = loss_dino.new_zeros(())
        loss_cosine = cosine_consistency(embeddings, views) if self._cosine_weight else none
        loss_redundancy = redundancy(embeddings, self._group.sum) if dino.redundancy_weight else none
        # The mean over pairs, not the sums of Eq. 2 (8 terms) and Eq. 5 (10): alpha = 1 weighs 8/10 of what it does there.
        loss = loss_dino + self._cosine_weight * loss_cosine + dino.redundancy_weight * loss_redundancy

        for group in self._optimiser.param_groups:
            group["lr"] = self._learning_rate(progress)
        self._optimiser.zero_grad(set_to_none=True)
        (share * loss).backward()
        self._group.sum_gradients(self.student.parameters())
        if progress < optimiser.freeze_last_layer_epochs:
            self.student.head.prototypes.weight.grad = None
        clipped = clip_each(self.student.parameters(), optimiser.clip_gradient)
        self._optimiser.step()

        update_teacher(self.teacher, self.student, self._momentum(progress))
        mean_logits = self._group.sum(share * teacher_logits.float().flatten(0, -2).mean(dim=0))
        self.centre = updated_centre(self.centre, mean_logits[None], dino.centre_momentum)
        student = torch.softmax(logits.detach().float() / dino.student_temperature, dim=-1)
        losses, entropies = [loss, loss_dino, loss_cosine, loss_redundancy], [entropy(teacher), entropy(student)]
        self._count([*losses, *entropies, *clipped], teacher, share)

    def _student_outputs(self, long: Tensor, short: Tensor, views: int) -> tuple[Tensor, Tensor]:
        """Embeddings of the student's views (long ones first), and the logits of those that the pairing uses.

        The student sees the long crops only where a loss needs them.
        """
        everywhere = self.settings.dino.pairing == "all_but_same"
        parts = []
        if everywhere or self._cosine_weight:
            parts.append(self.student.encoder(long).unflatten(0, (views, -1)))
        if len(short):
            parts.append(self.student.encoder(short).unflatten(0, (-1, len(long) // views)))
        embeddings = torch.cat(parts)
        used = embeddings if everywhere or len(parts) == 1 else parts[1]
        return embeddings, self.student.head(used.flatten(0, 1)).unflatten(0, used.shape[:2])

    def end_epoch(self, epoch: int) -> Row:
        """Figures of the epoch; the teacher joins the average of the last checkpoints."""
        means = dict(zip(FIGURES, (self._sums / self._steps).tolist(), strict=True))
        warning = ""
        if epoch >= max(1, self.settings.optimiser.warmup_epochs):
            mean_entropy = float(entropy(self._mean_output / self._steps))
            warning = collapse(means["loss_dino"], means["teacher_entropy"], mean_entropy, len(self.centre))
            if warning.startswith("COLLAPSE") and self.settings.on_collapse == "stop":
                raise TrainingError(f"epoch {epoch + 1}: {warning}. The run stops as pretrain.on_collapse asks")
        if epoch >= self.epochs - (self.settings.average_last or 1):
            self._average.add(self.teacher.encoder.state_dict())
        row = {
            **means,
            # In the middle of the epoch: at the start of a warm-up the rate would be 0.
            "learning_rate": self._learning_rate(epoch + 0.5),
            "ema_momentum": self._momentum(epoch + 0.5),
            "teacher_temperature": self._teacher_temperature(epoch + 0.5),
            "clusters": 0 if self._labels is None else self.settings.cluster_aware.clusters,
            "warning": warning,
        }
        self._reset_figures()
        return row

    def exported(self) -> dict[str, Tensor]:
        """The encoder's weights that the stage hands on: the teacher's, averaged over the last epochs.

        BatchNorm's statistics are averaged with them: the teacher hardly moves any more (its momentum is near 1), so those of
        its last checkpoints belong to nearly the same weights.
        """
        return self._average.mean

    # Schedules --------------------------------------------------------------------------------------------------------

    def _learning_rate(self, progress: float) -> float:
        optimiser = self.settings.optimiser
        peak, final = optimiser.learning_rate, 1e-5 if optimiser.final_learning_rate is None else optimiser.final_learning_rate
        scale = self.batch_size / REFERENCE_BATCH
        return warmup_then_cosine(progress, self.epochs, optimiser.warmup_epochs, scale * peak, scale * final)

    def _momentum(self, progress: float) -> float:
        """0 makes the teacher a copy of the student (`ema: none`)."""
        return cosine(self.settings.dino.ema_start, 1.0, progress / self.epochs) if self.settings.dino.ema == "cosine" else 0.0

    def _teacher_temperature(self, progress: float) -> float:
        dino = self.settings.dino
        end = dino.teacher_temperature or 0.04
        start, epochs = dino.teacher_temperature_start or end, dino.teacher_temperature_epochs or 0
        return linear(start, end, progress / epochs) if epochs else end

    # Figures and state ------------------------------------------------------------------------------------------------

    def _reset_figures(self) -> None:
        self._steps = 0
        self._sums = torch.zeros(len(FIGURES), device=self._runtime.device)
        self._mean_output = torch.zeros_like(self.centre)

    @torch.no_grad()
    def _count(self, figures: list[Tensor], teacher: Tensor, share: float) -> None:
        """Add a step's figures on the device; nothing is waited for.

        Args:
            share: of the batch that this process saw.
        """
        self._steps += 1
        self._sums += self._group.sum(share * torch.stack([figure.detach().float() for figure in figures]))
        self._mean_output += self._group.sum(share * teacher.flatten(0, 1).mean(dim=0))

    def is_finite(self) -> bool:
        """Whether all figures of the epoch so far and all weights are finite."""
        return bool(self._sums.isfinite().all()) and all_finite(self.student, self.teacher)

    _clustered_in = -1

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "centre": self.centre,
            "labels": self._labels,
            "clustered_in": self._clustered_in,
            "average": vars(self._average),
            "figures": {"steps": self._steps, "sums": self._sums, "mean_output": self._mean_output},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        device = self._runtime.device
        self.student.load_state_dict(state["student"])
        self.teacher.load_state_dict(state["teacher"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.centre = state["centre"].to(device)
        self._labels, self._clustered_in = state["labels"], state["clustered_in"]
        self._average.load(state["average"], device)
        figures = state["figures"]
        self._steps, self._sums, self._mean_output = figures["steps"], figures["sums"].to(device), figures["mean_output"].to(device)


def sgd(network: DinoNetwork, settings: PretrainSettings, *, fused: bool) -> torch.optim.SGD:
    """SGD with weight decay on matrices only, not on biases and norms."""
    last = network.head.prototypes.weight
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1 and parameter is not last]
    plain = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    decay = settings.optimiser.weight_decay
    # The last layer may start to move after the others: the fused step takes the momenta of a group to begin together.
    groups = [{"params": part, "weight_decay": weight} for part, weight in ((decayed, decay), (plain, 0.0), ([last], decay))]
    return torch.optim.SGD(groups, lr=0.0, momentum=settings.optimiser.momentum, fused=fused or None)
