"""Fine-tuning: an encoder, and the classes to tell apart, trained further under AAM-softmax. Every label counts."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from selfsv.data.batches import TuneBatch, TuneCrops
from selfsv.engine.figures import EpochMeans
from selfsv.engine.history import Row
from selfsv.engine.runtime import Runtime
from selfsv.losses.aam import AamClassifier
from selfsv.methods.aam_network import AamNetwork, schedules
from selfsv.methods.inputs import Inputs
from selfsv.settings.jobs import TuneJob

FIGURES = ("loss", "accuracy", "gradient_norm", "gradient_clipped")
LARGE_MARGIN, FINETUNING = 2**15, 2**15 + 1  # stages of the random draws, beyond the number of any round


class Tuning:
    """Fine-tuning as a `Method` of the training loop.

    Args:
        name: what to call it in messages.
        classifier: of the classes, where it starts.
        labels: [N] class of every utterance of the corpus, int64.
        stage: of the random draws, one of those above.
    """

    def __init__(
        self,
        name: str,
        job: TuneJob,
        inputs: Inputs,
        encoder: nn.Module,
        classifier: AamClassifier,
        labels: Tensor,
        stage: int,
        runtime: Runtime,
    ):
        self.name, self.stage, self.seed = name, stage, job.seed
        self.settings, self.epochs, self.batch_size = job.tune, job.tune.epochs, job.tune.batch_size
        self.network, self._features = AamNetwork(job.tune, runtime.prepared(encoder), classifier, runtime), inputs.features
        self._crops = TuneCrops(inputs.corpus, inputs.sampler, job.tune.crop_seconds, job.seed, stage)
        self._labels, self._means = labels.to(runtime.device), EpochMeans(FIGURES, runtime.device)

    def begin_epoch(self, epoch: int) -> Dataset:
        """The epoch's segments."""
        self.network.encoder.train()
        return self._crops

    def step(self, batch: TuneBatch, progress: float) -> None:
        """One update on a mini-batch."""
        labels = self._labels[batch.utterances.to(self._labels.device, non_blocking=True)]
        cosines = self.network.cosines(self._features(batch.augmented))
        losses = self.network.losses(cosines, labels, progress)
        total = self.network.group.total(len(losses))
        clipped = self.network.update(losses.sum() / total, progress)
        correct = cosines.argmax(dim=1) == labels
        sums = self.network.group.sum(torch.stack([losses.detach().sum(), correct.float().sum()]))
        self._means.add(torch.cat([sums / total, torch.stack(clipped)]))

    def end_epoch(self, epoch: int) -> Row:
        """Figures of the epoch; `accuracy` is on the segments that were trained on, before their step."""
        return {**self._means.close(), **schedules(self.settings, epoch), "warning": self.network.warning}

    @property
    def step_losses(self) -> list[float]:
        """Means over some steps each of the epoch that was closed last."""
        return self._means.losses

    def finish(self, batches: Iterable[TuneBatch]) -> None:
        """Nothing is left to do."""

    def is_finite(self) -> bool:
        """Whether all figures of the epoch so far and all weights are finite."""
        return self._means.is_finite() and self.network.is_finite()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {"network": self.network.state_dict(), "means": self._means.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        self.network.load_state_dict(state["network"])
        self._means.load_state_dict(state["means"])
