"""One modality of stage II: an encoder and a classifier, their optimiser, and the memory that its gate is fitted to."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from selfsv.engine.batchnorm_statistics import reestimate
from selfsv.engine.clipping import Clipped
from selfsv.engine.diagnostics import all_finite, extreme_gate
from selfsv.engine.ema import WeightAverage
from selfsv.engine.history import Row
from selfsv.engine.runtime import Runtime
from selfsv.losses.aam import AamClassifier
from selfsv.losses.label_correction import AGREED, CORRECTED, DECISIONS, DROPPED, CleanOutputs, Gate, gated_loss
from selfsv.losses.loss_gate import GateFit, Mixture, refit
from selfsv.methods.learner import AamLearner
from selfsv.settings.train import TrainSettings

FIGURES = ("loss", "loss_clean", "accuracy", "gradient_norm", "gradient_clipped")
BATCHES_FOR_STATISTICS = 400  # from which BatchNorm takes its statistics anew: of more they come out alike
SHARES = tuple(name for code, name in enumerate(DECISIONS) if code != AGREED)


class GatedBatch(NamedTuple):
    """What a modality is to learn from a batch of M utterances."""

    rows: Tensor  # [M] int64, which utterances of the corpus these are
    pseudo: Tensor  # [M] int64, their pseudo labels
    clean: CleanOutputs
    decisions: Tensor  # [M]
    labels: Tensor  # [M] int64, what they are taught as: the pseudo label, or what was agreed on


class ModalityTrainer(AamLearner):
    """What is trained on pseudo labels, and what it is told to trust.

    Args:
        encoder: with random weights.
        embedding: dimensions of its output.
        classes: number of pseudo speakers.
        has_modality: [N] bool, which utterances of the corpus can be seen (or heard); the others do not count.
        several: whether there are other modalities, so that labels can be agreed on.
    """

    def __init__(
        self,
        modality: str,
        settings: TrainSettings,
        encoder: nn.Module,
        embedding: int,
        classes: int,
        has_modality: np.ndarray,
        runtime: Runtime,
        *,
        several: bool = False,
    ):
        self.modality, self.settings, self._several = modality, settings, several
        super().__init__(settings, encoder, AamClassifier(embedding, classes), runtime)
        self._has_modality = has_modality
        device = runtime.device
        # An average of one is the encoder itself, as it is.
        self._averages = settings.average_last if settings.average_last and settings.average_last > 1 else 0
        self._average = WeightAverage()
        self._threshold: float | None = settings.gate.fixed_threshold if settings.gate.mode == "fixed" else None
        self._mixture: Mixture | None = None
        self.gate_rows: list[Row] = []
        # Of the last epoch; one entry per utterance, so that nothing waits for the device within it.
        self._clean_loss = torch.full((len(has_modality),), math.nan, device=device)
        self._decision = torch.full((len(has_modality),), DROPPED, dtype=torch.int8, device=device)
        self._reset_figures()

    @torch.no_grad()
    def clean(self, features: Tensor, labels: Tensor, progress: float) -> CleanOutputs:
        """What the network makes of the clean segments."""
        cosines = self.cosines(features)
        return CleanOutputs(self.losses(cosines, labels, progress), cosines)

    def learn(self, gated: GatedBatch, features: Tensor, progress: float) -> None:
        """One step of the optimiser on the augmented segments (Algorithm 1), and the memory of it.

        Args:
            features: of the augmented segments.
        """
        scale = self.settings.aam.scale
        augmented = self.cosines(features)
        augmented_loss = self.losses(augmented, gated.labels, progress)
        gate = self.gate(int(progress))
        losses = gated_loss(gated.decisions, augmented_loss, gated.clean.cosines, augmented, scale, gate)
        items = self.group.total(len(losses))
        clipped = self.update(losses.sum() / items, progress)
        self._remember(gated, losses.detach(), items, clipped)

    def gate(self, epoch: int) -> Gate:
        """The gate in force. Before its first epoch, and in mode `none`, every label counts."""
        gate = self.settings.gate
        closed = gate.mode != "none" and epoch >= gate.gate_start_epoch and self._threshold is not None
        threshold = self._threshold if closed and self._threshold is not None else math.inf
        return Gate(threshold, gate.confidence if gate.mode == "dlg_lc" else 1.0, gate.sharpening)

    def _remember(self, gated: GatedBatch, losses: Tensor, items: int, clipped: Clipped) -> None:
        """Take down what became of each utterance, in whichever process.

        Args:
            losses: [M] of the augmented segments.
            items: M of all processes together.
            clipped: of the step's gradients, which all processes share.
        """
        rows = self.group.gathered(gated.rows)
        self._clean_loss[rows] = self.group.gathered(gated.clean.loss)
        self._decision[rows] = self.group.gathered(gated.decisions.to(torch.int8))
        self._steps += 1
        correct = gated.clean.cosines.argmax(dim=1) == gated.pseudo
        means = self.group.sum(torch.stack([losses.sum(), gated.clean.loss.sum(), correct.float().sum()])) / items
        self._sums += torch.cat([means, torch.stack(clipped)])

    def end_epoch(self, epoch: int) -> Row:
        """Fit the mixture to the epoch's clean losses; from the gate's first epoch on, its crossing is the next threshold.

        That first epoch comes after one whose margin was full from its start (see the settings): losses under a growing margin
        are no measure of labels.
        """
        if self._averages and epoch >= self.settings.epochs - self._averages:
            self._average.add(self.encoder.state_dict())
        shares, used = self._shares(), self.gate(epoch).threshold
        fit = self.group.on_first_rank(lambda: refit(self._clean_loss.cpu().numpy()[self._has_modality], self._threshold, self._mixture))
        self._mixture = fit.mixture
        self.gate_rows.append(self._gate_row(epoch, used, fit, shares))
        self._follow(fit, epoch)
        figures = dict(zip(FIGURES, (self._sums / max(self._steps, 1)).tolist(), strict=True))
        self._reset_figures()
        acting = math.isfinite(used)
        warning = self.warning or (extreme_gate(shares["reliable"], shares["corrected"]) if acting else "")
        return {**figures, "tau1": used if acting else None, **shares, "warning": warning}

    def _shares(self) -> dict[str, float]:
        """Fractions of the utterances; labels that were agreed on are corrected ones, and counted once more on their own."""
        decision = self._decision.cpu().numpy()[self._has_modality]
        shares = {name: float(np.mean(decision == DECISIONS.index(name))) for name in SHARES}
        if not self._several:
            return shares
        agreed = float(np.mean(decision == AGREED))
        return {**shares, DECISIONS[CORRECTED]: shares[DECISIONS[CORRECTED]] + agreed, DECISIONS[AGREED]: agreed}

    def _follow(self, fit: GateFit, epoch: int) -> None:
        """Take over the threshold of `fit` in the dynamic modes, once the gate is about to act."""
        gate = self.settings.gate
        if gate.mode in ("dlg", "dlg_lc") and epoch + 1 >= gate.gate_start_epoch:
            self._threshold = fit.threshold

    def _gate_row(self, epoch: int, used: float, fit: GateFit, shares: dict[str, float]) -> Row:
        (w1, w2), (m1, m2), (v1, v2) = fit.mixture.weights, fit.mixture.means, fit.mixture.variances
        acting = math.isfinite(used)
        return {
            "modality": self.modality,
            "epoch": epoch,
            "tau1": used if acting else None,
            "weight_1": w1,
            "mean_1": m1,
            "variance_1": v1,
            "weight_2": w2,
            "mean_2": m2,
            "variance_2": v2,
            **shares,
            "status": fit.status if acting or self.settings.gate.mode.startswith("dlg") else "no gate",
        }

    def recorded(self) -> tuple[np.ndarray, np.ndarray]:
        """The last epoch's clean loss [N] (NaN without this modality) and decision [N], by name."""
        return self._clean_loss.cpu().numpy(), np.array(DECISIONS)[self._decision.cpu().numpy()]

    def _reset_figures(self) -> None:
        self._steps = 0
        self._sums = torch.zeros(len(FIGURES), device=self._runtime.device)

    def finalize(self, inputs: Iterable[Tensor]) -> None:
        """Put the average of the last epochs' weights in the encoder's place, if there is to be one.

        Args:
            inputs: batches, of the first few hundred of which BatchNorm takes its statistics anew. Not looked at without an average.
        """
        if self._averages:
            self.encoder.load_state_dict(self._average.mean)
            with self._runtime.autocast():
                reestimate(self.encoder, islice(inputs, BATCHES_FOR_STATISTICS))

    def is_finite(self) -> bool:
        """Whether all figures of the epoch so far and all weights are finite."""
        return bool(self._sums.isfinite().all()) and all_finite(self.encoder, self.classifier)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            **super().state_dict(),
            "average": vars(self._average),
            "threshold": self._threshold,
            "mixture": None if self._mixture is None else asdict(self._mixture),
            "gate_rows": self.gate_rows,
            "clean_loss": self._clean_loss,
            "decision": self._decision,
            "figures": {"steps": self._steps, "sums": self._sums},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        super().load_state_dict(state)
        self._average.load(state["average"], self._runtime.device)
        self._threshold, self.gate_rows = state["threshold"], state["gate_rows"]
        self._mixture = None if state["mixture"] is None else Mixture(**state["mixture"])
        self._clean_loss.copy_(state["clean_loss"])
        self._decision.copy_(state["decision"])
        self._steps = state["figures"]["steps"]
        self._sums.copy_(state["figures"]["sums"])
