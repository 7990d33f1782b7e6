"""Fine-tuning: an encoder, and the classes to tell apart, learnt further under AAM-softmax. Every label counts."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from selfsv.data.batches import FeatureExtractor, TuneBatch
from selfsv.engine.diagnostics import all_finite
from selfsv.engine.history import Row
from selfsv.losses.aam import AamClassifier
from selfsv.methods.learner import AamLearner, schedules
from selfsv.settings.train import AamTraining

FIGURES = ("loss", "accuracy", "gradient_norm", "gradient_clipped")
LARGE_MARGIN, FINETUNING = 2**15, 2**15 + 1  # stages of the random draws, beyond the number of any round


class Tuning:
    """Fine-tuning as a `Method` of the training loop.

    Args:
        name: what to call it in messages.
        labels: [N] class of every utterance of the corpus, int64.
        stage: of the random draws, one of those above.
        crops: the dataset of augmented segments.
    """

    def __init__(
        self,
        name: str,
        settings: AamTraining,
        learner: AamLearner,
        labels: Tensor,
        seed: int,
        stage: int,
        features: FeatureExtractor,
        crops: Dataset,
    ):
        self.name, self.stage, self.seed = name, stage, seed
        self.settings, self.epochs, self.batch_size = settings, settings.epochs, settings.batch_size
        self.learner, self._features, self._crops = learner, features, crops
        self._labels = labels.to(features.device)
        self._reset_figures()

    def begin_epoch(self, epoch: int) -> Dataset:
        """The epoch's segments."""
        self.learner.encoder.train()
        return self._crops

    def step(self, batch: TuneBatch, progress: float) -> None:
        """One update on a mini-batch."""
        labels = self._labels[batch.utterances.to(self._labels.device, non_blocking=True)]
        cosines = self.learner.cosines(self._features(batch.augmented))
        losses = self.learner.losses(cosines, labels, progress)
        items = self.learner.group.total(len(losses))
        clipped = self.learner.update(losses.sum() / items, progress)
        correct = cosines.argmax(dim=1) == labels
        self._steps += 1
        means = self.learner.group.sum(torch.stack([losses.detach().sum(), correct.float().sum()])) / items
        self._sums += torch.cat([means, torch.stack(clipped)])

    def end_epoch(self, epoch: int) -> Row:
        """Figures of the epoch; `accuracy` is on the segments that were learnt from, before their step."""
        figures = dict(zip(FIGURES, (self._sums / max(self._steps, 1)).tolist(), strict=True))
        self._reset_figures()
        return {**figures, **schedules(self.settings, epoch), "warning": self.learner.warning}

    def is_finite(self) -> bool:
        """Whether all figures of the epoch so far and all weights are finite."""
        return bool(self._sums.isfinite().all()) and all_finite(self.learner.encoder, self.learner.classifier)

    def _reset_figures(self) -> None:
        self._steps, self._sums = 0, torch.zeros(len(FIGURES), device=self._labels.device)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {"learner": self.learner.state_dict(), "figures": {"steps": self._steps, "sums": self._sums}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        self.learner.load_state_dict(state["learner"])
        self._steps = state["figures"]["steps"]
        self._sums.copy_(state["figures"]["sums"])


def fresh_classifier(embedding: int, classes: int, seed: int, stage: int) -> AamClassifier:
    """A classifier with random weights that depend on (seed, stage) alone."""
    torch.manual_seed(1000 * seed + stage)
    return AamClassifier(embedding, classes)


def knowing_classifier(means: Tensor) -> AamClassifier:
    """A classifier that begins with the classes' means.

    Args:
        means: [classes, D], from `class_means`.
    """
    classifier = AamClassifier(means.shape[1], len(means))
    with torch.no_grad():
        classifier.weight.copy_(means)
    return classifier
