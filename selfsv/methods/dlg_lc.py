"""Stage II: a new encoder on pseudo labels, with the dynamic loss-gate and label correction (paper IV, Algorithm 1)."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from selfsv.data.batches import TrainCrops
from selfsv.engine.diagnostics import early_gate, extreme_gate
from selfsv.engine.figures import EpochMeans
from selfsv.engine.history import Row
from selfsv.engine.optimisation import WeightAverage, reestimate
from selfsv.engine.runtime import Runtime
from selfsv.losses.classifiers import classifier_of, knowing_classifier
from selfsv.losses.label_correction import CleanOutputs, gated_loss
from selfsv.methods.aam_network import AamNetwork, schedules
from selfsv.methods.gate_tracker import GateTracker
from selfsv.methods.inputs import Inputs
from selfsv.methods.kept_objective import KeptObjective
from selfsv.methods.prediction_history import PredictionHistory
from selfsv.methods.round_start import Start
from selfsv.models.encoders import untrained
from selfsv.settings.jobs import TrainJob

FIGURES = ("loss", "loss_clean", "accuracy", "gradient_norm", "gradient_clipped")
INPUTS_FOR_STATISTICS = 400  # from which BatchNorm takes its statistics anew: of more they come out alike


class Modality:
    """The learner of one modality: its network, its gate, the average of its last weights, its figures.

    Args:
        name: `audio` or `face`.
    """

    def __init__(self, name: str, network: AamNetwork, gate: GateTracker, device: torch.device, figures: tuple[str, ...] = FIGURES):
        self.name, self.network, self.gate, self._device = name, network, gate, device
        self.average, self.means = WeightAverage(), EpochMeans(figures, device)
        self._accuracies: list[float] = []  # of the last two epochs

    def end_epoch(self, epoch: int) -> Row:
        """Figures and shares of the epoch, and what is suspicious about them."""
        row = {**self.means.close(), **self.gate.end_epoch(epoch)}
        suspicion = "" if row["tau1"] is None else extreme_gate(row["reliable"], row["corrected"])
        if self.gate.opens_in(epoch) and len(self._accuracies) == 2:
            suspicion = early_gate(*self._accuracies) or suspicion
        self._accuracies = [*self._accuracies[-1:], row["accuracy"]]
        return {**row, "warning": self.network.warning or suspicion}

    def is_finite(self) -> bool:
        """Whether all figures of the epoch so far and all weights are finite."""
        return self.means.is_finite() and self.network.is_finite()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "gate": self.gate.state_dict(),
            "means": self.means.state_dict(),
            "average": vars(self.average),
            "accuracies": self._accuracies,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        self.network.load_state_dict(state["network"])
        self.gate.load_state_dict(state["gate"])
        self.means.load_state_dict(state["means"])
        self.average.load(state["average"], self._device)
        self._accuracies = state["accuracies"]


class Segments(NamedTuple):
    """A modality's part of a batch of B utterances. The encoder's inputs are made when they are asked for: they are large."""

    modality: Modality
    places: Tensor  # [M] int64, which of the batch's utterances
    total: int  # M of all processes together, above 0
    clean: Callable[[], Tensor]  # [M, ...] x_clean
    augmented: Callable[[], Tensor]  # [M, ...] x_aug


class Decided(NamedTuple):
    """The decisions over M utterances."""

    decisions: Tensor  # [M] RELIABLE, CORRECTED, DROPPED or AGREED
    labels: Tensor  # [M] int64, what it is trained as: the pseudo label, or the class that two modalities agree on
    trust: Tensor | None = None  # [M] how far each label counts; None: as `decisions` say


class DlgLc:
    """DLG-LC on voices as a `Method` of the training loop.

    Args:
        labels: [N] pseudo label of every utterance of the corpus, int64.
        stage: number of the round, 1 for the first.
        start: the weights that it begins with; None: random ones.
    """

    _several = False  # whether there is more than one modality, so that labels can be agreed on

    def __init__(self, job: TrainJob, inputs: Inputs, labels: Tensor, stage: int, runtime: Runtime, start: Start | None = None):
        self.name, self.stage, self.seed = f"DLG-LC round {stage}", stage, job.seed
        self.settings, self.epochs, self.batch_size = job.train, job.train.epochs, job.train.batch_size
        self._features, self._runtime, self._labels = inputs.features, runtime, labels.to(runtime.device)
        self._classes = int(labels.max()) + 1
        self._crops = TrainCrops(inputs.corpus, inputs.sampler, job.train.crop_seconds, job.seed, stage)
        self._dataset: Dataset = self._crops
        # An average of one is the encoder itself, as it is.
        self._averaged = job.train.average_last if job.train.average_last > 1 else 0
        self._relabelled_from = self.epochs if job.train.relabel_start_epoch is None else job.train.relabel_start_epoch
        self._history: PredictionHistory | None = None
        if job.train.gate.trust == "history" or self._relabelled_from < self.epochs:
            self._history = PredictionHistory(len(labels), job.train.gate.history_epochs, runtime.group, runtime.device)
        voice = start.encoder if start else untrained(job.encoder, job.features.mel_bins, job.seed, stage)
        self._kept: KeptObjective | None = None
        if job.train.objective_weight:
            self._kept = KeptObjective(job, voice, inputs, runtime)
            self._dataset = self._kept.crops(self._crops)
        else:
            voice = runtime.prepared(voice)
        means = start.means if start else None
        self.modalities = [self._modality("audio", voice, job.encoder.embedding, np.ones(len(labels), bool), means)]

    def _modality(self, name: str, encoder: nn.Module, embedding: int, present: np.ndarray, means: Tensor | None = None) -> Modality:
        """A network and a fresh gate.

        Args:
            embedding: dimensions of the encoder's output.
            present: [N] bool, which utterances of the corpus have the modality.
            means: of the classes, [classes, D], where the classifier begins; None: random weights.
        """
        device, group = self._runtime.device, self._runtime.group
        if means is None:
            classifier = classifier_of(self.settings, embedding, self._classes)
        else:
            classifier = knowing_classifier(self.settings, means, self.seed, self.stage)
        beside = self._kept.head if self._kept else ()
        network = AamNetwork(self.settings, encoder, classifier, self._runtime, beside)
        gate = GateTracker(name, self.settings.gate, present, group, device, several=self._several, history=self._history)
        return Modality(name, network, gate, device, (*FIGURES, "loss_objective") if self._kept else FIGURES)

    def begin_epoch(self, epoch: int) -> Dataset:
        """The epoch's segments."""
        for modality in self.modalities:
            modality.network.encoder.train()
        if self._kept:
            self._kept.train()
        return self._dataset

    def step(self, batch: Any, progress: float) -> None:
        """Algorithm 1 on a mini-batch, for one modality or several; line numbers are the paper's."""
        epoch, scale, judges_augmented = int(progress), self.settings.aam.scale, self.settings.gate.segment == "augmented"
        utterances = batch.utterances.to(self._labels.device, non_blocking=True)
        y, parts = self._labels[utterances], self._segments(batch)

        clean, augmented = [], []
        for part in parts:
            network, places = part.modality.network, part.places
            with torch.no_grad():  # what the clean segment gives is a target
                p_clean = network.cosines(part.clean())  # lines 2 and 3
            p_aug = network.cosines(part.augmented())  # lines 2 and 3
            l_clean = network.losses(p_aug if judges_augmented else p_clean, y[places], progress).detach()  # line 4
            clean.append(CleanOutputs(l_clean, p_clean))
            augmented.append(p_aug)
        decided = self._decide(parts, clean, utterances, y, epoch)  # lines 6, 8, 9 and 13

        for part, (l_clean, p_clean), p_aug, (decisions, labels, trust) in zip(parts, clean, augmented, decided, strict=True):
            network, gate, means = part.modality.network, part.modality.gate, part.modality.means
            l_aug = network.losses(p_aug, labels, progress)  # line 4
            losses = gated_loss(decisions, l_aug, p_clean, p_aug, scale, gate.gate(epoch), trust)  # lines 7, 10 to 12 and 14
            loss, beside = losses.sum() / part.total, []  # Eq. 11
            if self._kept:
                kept = self._kept.loss(batch.views, progress, len(losses) / part.total)
                loss, beside = loss + self.settings.objective_weight * kept, [network.group.sum(kept.detach().float())]
            clipped = network.update(loss, progress)
            if self._kept:
                self._kept.after_step(progress)
            gate.record(utterances[part.places], l_clean, decisions)  # line 5; line 18 is `end_epoch`
            predicted = p_clean.argmax(dim=1)
            if self._history:
                self._history.record(epoch, utterances, predicted)
            sums = network.group.sum(torch.stack([losses.detach().sum(), l_clean.sum(), (predicted == y[part.places]).float().sum()]))
            means.add(torch.cat([sums / part.total, torch.stack([*clipped, *beside])]))

    def _segments(self, batch: Any) -> list[Segments]:
        """Each modality's part of a batch: the voice, of every utterance."""
        everyone = torch.arange(len(batch.utterances), device=self._labels.device)
        total = self._runtime.group.total(len(everyone))
        clean, augmented = (partial(self._features, crops) for crops in (batch.clean, batch.augmented))
        return [Segments(self.modalities[0], everyone, total, clean, augmented)]

    def _decide(self, parts: list[Segments], clean: list[CleanOutputs], utterances: Tensor, y: Tensor, epoch: int) -> list[Decided]:
        """Which labels each modality is trained on.

        Args:
            clean: what the networks make of the clean segments of `parts`.
            utterances: [B] of the batch.
            y: [B] their pseudo labels.
        """
        judged = parts[0].modality.gate.judge(clean[0], utterances, y, self.settings.aam.scale, epoch)
        return [Decided(judged.decisions, y, judged.trust)]

    def end_epoch(self, epoch: int) -> Row:
        """Figures of the epoch: the first modality's under their own names, another's with its name before them."""
        row: Row = {}
        warnings = []
        for modality in self.modalities:
            if self._averaged and epoch >= self.epochs - self._averaged:
                modality.average.add(modality.network.encoder.state_dict())
            figures = modality.end_epoch(epoch)
            if warning := figures.pop("warning"):
                warnings.append(f"{modality.name}: {warning}" if len(self.modalities) > 1 else warning)
            row |= {self._prefix(modality) + name: value for name, value in figures.items()}
        if self._history and epoch + 1 >= self._relabelled_from:
            self._labels, _ = self._history.commonest(epoch)
        return {**row, **schedules(self.settings, epoch), "warning": "; ".join(warnings)}

    def _prefix(self, modality: Modality) -> str:
        """Of the modality's columns."""
        return "" if modality is self.modalities[0] else f"{modality.name}_"

    @property
    def step_losses(self) -> list[float]:
        """Means over some steps each of the epoch that was closed last."""
        return self.modalities[0].means.losses

    def finish(self, batches: Iterable[Any]) -> None:
        """Put the averages of the last epochs' weights in the encoders' places, where the settings ask for them.

        Args:
            batches: of one more epoch, from the first of which BatchNorm takes its statistics anew.
        """
        if not self._averaged:
            return
        for modality in self.modalities:
            encoder = modality.network.encoder
            encoder.load_state_dict(modality.average.mean)
            with self._runtime.autocast():
                reestimate(encoder, islice(self._inputs(batches, modality), INPUTS_FOR_STATISTICS))

    def _inputs(self, batches: Iterable[Any], modality: Modality) -> Iterator[Tensor]:
        """The inputs of a modality's encoder: of each batch that has any, the clean inputs, then the augmented ones."""
        for batch in batches:
            for part in self._segments(batch):
                if part.modality is modality:
                    yield part.clean()
                    yield part.augmented()

    def weights(self, modality: str) -> dict[str, Tensor]:
        """Of a modality's encoder, by its name."""
        (encoder,) = (one.network.encoder for one in self.modalities if one.name == modality)
        return encoder.state_dict()

    @property
    def gate_rows(self) -> list[Row]:
        """`gate.parquet`: a row per epoch and modality."""
        return [row for modality in self.modalities for row in modality.gate.rows]

    def losses(self, utterances: np.ndarray) -> pd.DataFrame:
        """`losses.parquet`: the last epoch's clean losses and decisions of every utterance."""
        table: dict[str, np.ndarray] = {"utterance": utterances}
        for modality in self.modalities:
            names = [f"{self._prefix(modality)}{name}" for name in ("loss_clean", "decision")]
            table |= dict(zip(names, modality.gate.recorded(), strict=True))
        return pd.DataFrame(table)

    def is_finite(self) -> bool:
        """Whether all figures of the epoch so far and all weights are finite."""
        return all(modality.is_finite() for modality in self.modalities) and (self._kept is None or self._kept.is_finite())

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        learnt = {"history": self._history.state_dict(), "labels": self._labels} if self._history else {}
        kept = {"objective": self._kept.state_dict()} if self._kept else {}
        return {**{modality.name: modality.state_dict() for modality in self.modalities}, **learnt, **kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        for modality in self.modalities:
            modality.load_state_dict(state[modality.name])
        if self._kept:
            self._kept.load_state_dict(state["objective"])
        if self._history:
            self._history.load_state_dict(state["history"])
            self._labels = state["labels"].to(self._labels.device)
