"""Stage I: an encoder trained on crops alone, with whatever objective (paper III). Clusters, optimiser, schedules, averages, state."""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from selfsv.clustering.kmeans import nearest_others, spherical_kmeans
from selfsv.clustering.preparation import centred_unit
from selfsv.clustering.quality import normalised_mutual_information
from selfsv.data.batches import ClusterPartners
from selfsv.engine.extraction import extract_embeddings
from selfsv.engine.figures import EpochMeans
from selfsv.engine.history import Row
from selfsv.engine.optimisation import WeightAverage, clip_each, warmup_then_cosine, warmup_then_exponential
from selfsv.engine.parts import divide_forward
from selfsv.engine.runtime import Runtime
from selfsv.errors import InputError
from selfsv.methods.inputs import Inputs
from selfsv.methods.objective import Objective, objective_of
from selfsv.models.encoders import untrained
from selfsv.settings.jobs import PretrainJob
from selfsv.settings.pretrain import OptimiserSettings
from selfsv.settings.stage_one import is_cluster_aware, pretraining_title

REFERENCE_BATCH = 256  # the batch for which learning rates are given
SCHEDULES = {"warmup_cosine": warmup_then_cosine, "warmup_exponential": warmup_then_exponential}


class Clusters(NamedTuple):
    """A clustering for partners."""

    labels: np.ndarray  # [N] the cluster of every utterance
    partners: np.ndarray | None  # [K] the cluster of each one's partners, where it is another one
    nmi: float | None  # with the clustering before, a figure alone; None for the first


class Pretraining:
    """Stage I as a `Method` of the training loop.

    Raises:
        InputError: there are fewer utterances than clusters.
    """

    stage = 0

    def __init__(self, job: PretrainJob, inputs: Inputs, runtime: Runtime):
        self.name, self.settings, self.seed = pretraining_title(job.pretrain), job.pretrain, job.seed
        self.epochs, self.batch_size = job.pretrain.epochs, job.pretrain.batch_size
        self._inputs, self._runtime, self._group, aware = inputs, runtime, runtime.group, job.pretrain.cluster_aware
        self._cluster_aware = is_cluster_aware(job.pretrain)
        if self._cluster_aware and aware.clusters > len(inputs.corpus):
            raise InputError(
                f"pretrain.cluster_aware.clusters is {aware.clusters}, but there are only {len(inputs.corpus)} utterances: lower it"
            )
        encoder = untrained(job.encoder, job.features.mel_bins, job.seed, 0)
        self.objective = objective_of(job.pretrain.method)(job, encoder, inputs, runtime)
        divide_forward(cast(nn.Module, self.objective.trained.encoder), job.pretrain.encoder_parts)
        self._optimiser = optimiser_of(self.objective, self.settings.optimiser, runtime.device)
        # What clusters are made of: as for the pseudo labels.
        preparation = job.preparation
        self._prepare = partial(centred_unit, subtract_mean=preparation.subtract_mean, whitening=preparation.whitening)
        self._average = WeightAverage()
        self._clusters: Tensor | None = None  # [N] cluster of every utterance
        self._partners: Tensor | None = None  # [K] cluster of each one's partners, where it is another one
        self._clustered_in = -1
        self._clusters_nmi: float | None = None  # of the newest clusters with those before them
        self._means = EpochMeans((*self.objective.figures, "gradient_norm", "gradient_clipped"), runtime.device)

    def begin_epoch(self, epoch: int) -> Dataset:
        """Cluster anew where the schedule says so; the epoch's crops. A resumed epoch finds its clusters in the state."""
        aware = self.settings.cluster_aware
        since = epoch - aware.start_epoch
        due = self._cluster_aware and since >= 0 and since % aware.every_epochs == 0
        if due and self._clustered_in != epoch:
            embeddings = extract_embeddings(self.objective.encoder, self._inputs.features.log_mel, self._inputs.corpus, self._runtime)
            found = self._group.on_first_rank(lambda: self._clustered(embeddings, epoch))
            self._clusters, self._partners = (None if part is None else torch.from_numpy(part) for part in found[:2])
            self._clusters_nmi = found.nmi
            self._clustered_in = epoch
        self.objective.train()
        if self._clusters is None:
            return self.objective.views(None)
        return self.objective.views(ClusterPartners(self._clusters.numpy(), None if self._partners is None else self._partners.numpy()))

    def _clustered(self, embeddings: np.ndarray, epoch: int) -> Clusters:
        """Cluster [N, D] embeddings anew."""
        aware = self.settings.cluster_aware
        effort = {"iterations": aware.iterations, "points_per_cluster": aware.points_per_cluster, "restarts": 1}
        # The other processes of the machine wait meanwhile, so this one takes their cores.
        with self._runtime.all_cores():
            clustering = spherical_kmeans(self._prepare(embeddings), aware.clusters, **effort, seed=self.seed + epoch)
            partners = nearest_others(clustering) if aware.partners == "nearest_cluster" else None
        nmi = None if self._clusters is None else normalised_mutual_information(self._clusters.numpy(), clustering.labels)
        return Clusters(clustering.labels, partners, nmi)

    def step(self, batch: Any, progress: float) -> None:
        """One update of the objective's networks."""
        objective, optimiser = self.objective, self._optimiser
        share = len(batch.utterances) / self._group.total(len(batch.utterances))
        figures = objective.loss(batch, progress, share)
        for group in optimiser.param_groups:
            group["lr"] = self._learning_rate(progress)
        optimiser.zero_grad(set_to_none=True)
        (share * figures[0]).backward()
        self._group.sum_gradients(objective.trained.parameters())
        if progress < self.settings.optimiser.freeze_last_layer_epochs:
            for parameter in objective.last_layer:
                parameter.grad = None
        clipped = clip_each(objective.trained.parameters(), self.settings.optimiser.clip_gradient)
        optimiser.step()
        objective.after_step(progress)
        self._means.add(self._group.sum(share * torch.stack([figure.detach().float() for figure in (*figures, *clipped)])))

    def end_epoch(self, epoch: int) -> Row:
        """Figures of the epoch; the encoder joins the average of the last checkpoints."""
        means = self._means.close()
        row = self.objective.end_epoch(epoch, means)
        if epoch >= self.epochs - self.settings.average_last:
            self._average.add(self.objective.encoder.state_dict())
        # In the middle of the epoch: at the start of a warm-up the rate would be 0.
        rate = {"learning_rate": self._learning_rate(epoch + 0.5)}
        clusters: Row = {"clusters": 0 if self._clusters is None else self.settings.cluster_aware.clusters}
        clusters["clusters_nmi"] = self._clusters_nmi if self._clustered_in == epoch else None
        return {**means, **rate, **row, **clusters}

    def _learning_rate(self, progress: float) -> float:
        optimiser, scale = self.settings.optimiser, self.batch_size / REFERENCE_BATCH
        rates = optimiser.adam if optimiser.kind == "adam" else optimiser
        schedule = SCHEDULES[optimiser.schedule]
        return schedule(progress, self.epochs, optimiser.warmup_epochs, scale * rates.learning_rate, scale * rates.final_learning_rate)

    @property
    def step_losses(self) -> list[float]:
        """Means over some steps each of the epoch that was closed last."""
        return self._means.losses

    def finish(self, batches: Iterable[Any]) -> None:
        """Nothing is left to do: `exported` has the average."""

    def exported(self) -> dict[str, Tensor]:
        """The encoder's weights that the stage hands on: their average over the last epochs.

        BatchNorm's statistics are averaged with them: a teacher hardly moves any more (its momentum is near 1), so those of its last
        checkpoints belong to nearly the same weights.
        """
        return self._average.mean

    def is_finite(self) -> bool:
        """Whether all figures of the epoch so far and all weights are finite."""
        return self._means.is_finite() and self.objective.is_finite()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "objective": self.objective.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "clusters": self._clusters,
            "partners": self._partners,
            "clustered_in": self._clustered_in,
            "clusters_nmi": self._clusters_nmi,
            "average": vars(self._average),
            "means": self._means.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        self.objective.load_state_dict(state["objective"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._clusters, self._partners, self._clustered_in = state["clusters"], state["partners"], state["clustered_in"]
        self._clusters_nmi = state["clusters_nmi"]
        self._average.load(state["average"], self._runtime.device)
        self._means.load_state_dict(state["means"])


def optimiser_of(objective: Objective, settings: OptimiserSettings, device: torch.device) -> torch.optim.Optimizer:
    """SGD or Adam with weight decay on matrices only, not on biases and norms.

    The objective's last layer, which may start to move after the others, is a group of its own: the fused step takes the momenta of a
    group to begin together.
    """
    last, decay = objective.last_layer, settings.weight_decay
    apart, bare = {id(one) for one in last}, {id(one) for one in objective.undecayed}
    rest = [parameter for parameter in objective.trained.parameters() if id(parameter) not in apart]
    decayed = [one for one in rest if one.ndim > 1 and id(one) not in bare]
    plain = [one for one in rest if one.ndim <= 1 or id(one) in bare]
    groups = [{"params": part, "weight_decay": weight} for part, weight in ((decayed, decay), (plain, 0.0), (last, decay)) if part]
    fused = device.type == "cuda" or None
    if settings.kind == "adam":
        return torch.optim.Adam(groups, lr=0.0, fused=fused)
    return torch.optim.SGD(groups, lr=0.0, momentum=settings.momentum, fused=fused)
