"""Momentum contrast (paper Table IV: MoCo): negatives are what a slowly moving copy of the encoder made of earlier batches."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from selfsv.data.batches import ClusterPartners, PairBatch, PairCrops
from selfsv.engine.history import Row
from selfsv.engine.runtime import Runtime
from selfsv.losses.momentum_contrast import EMPTY, momentum_contrast
from selfsv.methods.inputs import Inputs
from selfsv.methods.objective import StudentAndTeacher, update_teacher
from selfsv.settings.jobs import PretrainJob


class KeyQueue:
    """The newest K keys and whose they are: a ring, in which the oldest are overwritten."""

    def __init__(self, length: int, dimensions: int, device: torch.device):
        self.keys = torch.zeros(length, dimensions, device=device)
        self.utterances = torch.full((length,), EMPTY, device=device)
        self.next = 0  # the place that is written next

    def add(self, keys: Tensor, utterances: Tensor) -> None:
        """Put in [M, D] keys of [M] utterances; of more than K the last ones."""
        length = len(self.keys)
        keys, utterances = keys[-length:], utterances[-length:]
        places = torch.arange(self.next, self.next + len(keys), device=keys.device) % length
        self.keys.index_copy_(0, places, keys)
        self.utterances.index_copy_(0, places, utterances)
        self.next = (self.next + len(keys)) % length


class EncoderOnly(nn.Module):
    """An encoder under the name that all objectives give it. Embeddings are compared as they are: without a projection head."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder


class Objective(StudentAndTeacher[EncoderOnly]):
    """MoCo as an `Objective` of stage I. The encoder of the queries is exported, as in the original.

    BatchNorm sees the batches of all processes, so that none need be shuffled as in the original.
    """

    figures = ("loss", "accuracy")

    def __init__(self, job: PretrainJob, encoder: nn.Module, inputs: Inputs, runtime: Runtime):
        self._pretrain, self.settings, self._seed = job.pretrain, job.pretrain.momentum_contrast, job.seed
        self._inputs, self._features, self._runtime, self._group = inputs, inputs.features, runtime, runtime.group
        super().__init__(EncoderOnly(encoder), runtime)
        self.encoder = self.student.encoder
        self.last_layer: list[nn.Parameter] = []
        self.undecayed: list[nn.Parameter] = []
        self.queue = KeyQueue(self.settings.queue, job.encoder.embedding, runtime.device)

    def views(self, partners: ClusterPartners | None) -> Dataset:
        """Two long crops of each utterance."""
        return PairCrops(self._inputs.corpus, self._inputs.sampler, self._pretrain.crops.long_seconds, self._seed, partners)

    def loss(self, batch: PairBatch, progress: float, share: float) -> list[Tensor]:
        """He et al. (2020), Algorithm 1: queries of the first crops against keys of the second ones and of the queue."""
        one, other = self._features(batch.pair).chunk(2)
        utterances, key_sources = (source.to(one.device, non_blocking=True) for source in batch.sources)
        with self._runtime.autocast():
            queries = F.normalize(self.student.encoder(one), dim=1)
            with torch.no_grad():
                keys = F.normalize(self.teacher.encoder(other), dim=1)
        loss, accuracy = momentum_contrast(queries, keys, self.queue.keys, utterances, self.queue.utterances, self.settings.temperature)
        self._fresh = self._group.gathered(keys), self._group.gathered(key_sources)
        return [loss, accuracy]

    def after_step(self, progress: float) -> None:
        """The teacher follows, and the batch's keys, of all processes, become negatives."""
        update_teacher(self.teacher, self.student, self.settings.momentum)
        self.queue.add(*self._fresh)

    def end_epoch(self, epoch: int, means: dict[str, float]) -> Row:
        """Nothing beside the figures."""
        return {"warning": ""}

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {**super().state_dict(), "queue": vars(self.queue)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        super().load_state_dict(state)
        queue = state["queue"]
        self.queue.keys.copy_(queue["keys"])
        self.queue.utterances.copy_(queue["utterances"])
        self.queue.next = queue["next"]
