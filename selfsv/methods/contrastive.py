"""Contrastive learning (paper Table IV: SimCLR, AP + AAT, Unif + CEL): two crops of an utterance are near, those of others far."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from selfsv.data.batches import ClusterPartners, PairBatch, PairCrops
from selfsv.engine.diagnostics import all_finite
from selfsv.engine.history import Row
from selfsv.engine.runtime import Runtime
from selfsv.losses.augmentation_adversary import AugmentationAdversary
from selfsv.losses.contrastive import angular_contrastive, angular_prototypical, channel_invariance, nt_xent, retrieved, uniformity
from selfsv.methods.inputs import Inputs
from selfsv.settings.jobs import PretrainJob
from selfsv.settings.objectives import ContrastiveSettings


class ContrastiveNetwork(nn.Module):
    """An encoder, the scale of its cosines, and its adversary. Embeddings are compared as they are: without a projection head."""

    def __init__(self, encoder: nn.Module, embedding: int, settings: ContrastiveSettings):
        super().__init__()
        self.encoder = encoder
        # What a loss does not use has no gradient, and would be decayed to nothing.
        self.scale = nn.Parameter(torch.tensor(settings.scale)) if settings.loss != "nt_xent" else None
        self.adversary = AugmentationAdversary(embedding, settings.adversary_hidden) if settings.adversary_weight else None


class Objective:
    """Contrastive learning as an `Objective` of stage I."""

    figures = ("loss", "loss_contrastive", "loss_uniformity", "loss_invariance", "loss_adversary", "accuracy")

    def __init__(self, job: PretrainJob, encoder: nn.Module, inputs: Inputs, runtime: Runtime):
        self._pretrain, self.settings, self._seed = job.pretrain, job.pretrain.contrastive, job.seed
        self._inputs, self._features, self._runtime, self._group = inputs, inputs.features, runtime, runtime.group
        self.network = runtime.placed(ContrastiveNetwork(encoder, job.encoder.embedding, self.settings))
        runtime.prepared(self.network.encoder)
        self.trained, self.encoder = self.network, self.network.encoder
        self.last_layer: list[nn.Parameter] = []
        self.undecayed: list[nn.Parameter] = []

    def views(self, partners: ClusterPartners | None) -> Dataset:
        """Two long crops of each utterance."""
        return PairCrops(self._inputs.corpus, self._inputs.sampler, self._pretrain.crops.long_seconds, self._seed, partners)

    def train(self) -> None:
        """Training mode."""
        self.network.train()

    def loss(self, batch: PairBatch, progress: float, share: float) -> list[Tensor]:
        """The contrastive loss between two crops, and its companions where they have a weight."""
        settings, adversary = self.settings, self.network.adversary
        features = [self._features(batch.pair)]  # [2 B]: crop 1 under augmentation 1, crop 2 under augmentation 2
        if settings.invariance_weight:
            features.append(self._features(batch.pair.clean()))  # [2 B]
        if adversary is not None:
            features.append(self._features(batch.pair.augmented_as(0).view(1)))  # [B]: crop 2 under augmentation 1
        with self._runtime.autocast():
            embeddings = self.network.encoder(torch.cat(features)).unflatten(0, (-1, len(batch.utterances)))
        views = F.normalize(embeddings, dim=-1)  # [2 to 5, B, D]
        pair = views[:2]
        whole, first = self._group.whole(pair, 1)

        loss_contrastive = self._contrastive(pair, whole, first)
        zero = loss_contrastive.new_zeros(())
        loss_uniformity = uniformity(whole, settings.uniformity_sharpness) if settings.uniformity_weight else zero
        loss_invariance = channel_invariance(views[2:4], pair) if settings.invariance_weight else zero
        loss_adversary = zero if adversary is None else adversary(embeddings[0], embeddings[-1], embeddings[1])
        loss = loss_contrastive + settings.uniformity_weight * loss_uniformity + settings.invariance_weight * loss_invariance
        # Plus: what reaches the encoder of the adversary's gradient is turned round.
        loss = loss + settings.adversary_weight * loss_adversary
        return [loss, loss_contrastive, loss_uniformity, loss_invariance, loss_adversary, retrieved(pair, whole, first)]

    def _contrastive(self, pair: Tensor, whole: Tensor, first: int) -> Tensor:
        """Between this process's pairs and those of all."""
        settings, scale = self.settings, self.network.scale
        if scale is None:
            return nt_xent(pair, whole, first, settings.temperature, settings.margin)
        if settings.loss == "angular_prototypical":
            return angular_prototypical(pair[0], whole[1], first, scale)
        return angular_contrastive(pair, whole, first, scale)

    def after_step(self, progress: float) -> None:
        """Nothing follows an update."""

    def end_epoch(self, epoch: int, means: dict[str, float]) -> Row:
        """The learnt scale of the cosines; 1 / temperature where none is learnt."""
        scale = self.network.scale
        return {"scale": 1 / self.settings.temperature if scale is None else scale.item(), "warning": ""}

    def is_finite(self) -> bool:
        """Whether all weights are finite."""
        return all_finite(self.network)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {"network": self.network.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        self.network.load_state_dict(state["network"])
