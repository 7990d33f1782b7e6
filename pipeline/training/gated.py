"""Stage II: a new encoder on pseudo labels, with the dynamic loss-gate and label correction (paper IV, Algorithm 1)."""

import math
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from pipeline.losses.aam import AamClassifier, aam_loss
from pipeline.losses.label_correction import DECISIONS, DROPPED, Gate, decide, gated_loss
from pipeline.losses.loss_gate import GateFit, refit
from pipeline.settings.train import TrainSettings
from pipeline.training.batches import FeatureExtractor, TrainBatch
from pipeline.training.checks import extreme_gate
from pipeline.training.history import Row
from pipeline.training.runtime import Runtime
from pipeline.training.schedules import margin_ramp, warmup_then_exponential

MODALITY = "audio"


class GatedTraining:
    """DLG-LC as a `Method` of the training loop.

    Args:
        encoder: with random weights.
        embedding: dimensions of its output.
        labels: [N] pseudo label of every utterance of the corpus, int64.
        crops: the dataset of clean and augmented segments.
        stage: number of the round, 1 for the first.
    """

    def __init__(
        self,
        settings: TrainSettings,
        encoder: nn.Module,
        embedding: int,
        labels: Tensor,
        seed: int,
        stage: int,
        runtime: Runtime,
        features: FeatureExtractor,
        crops: Dataset,
    ):
        self.name, self.stage = f"DLG-LC round {stage}", stage
        self.settings, self.seed, self.epochs, self.batch_size = settings, seed, settings.epochs, settings.batch_size
        self._runtime, self._features, self._crops = runtime, features, crops
        device = runtime.device
        self.encoder = runtime.prepared(encoder)
        self.classifier = AamClassifier(embedding, int(labels.max()) + 1).to(device)
        self._labels = labels.to(device)
        optimiser = settings.optimiser
        self._parameters = [*self.encoder.parameters(), *self.classifier.parameters()]
        self._optimiser = torch.optim.SGD(
            self._parameters, lr=0.0, momentum=optimiser.momentum, weight_decay=optimiser.weight_decay, fused=device.type == "cuda" or None
        )
        self._threshold: float | None = settings.gate.fixed_threshold if settings.gate.mode == "fixed" else None
        self.gate_rows: list[Row] = []
        # Of the last epoch; one entry per utterance, so that nothing waits for the device within it.
        self._clean_loss = torch.full((len(labels),), math.nan, device=device)
        self._decision = torch.full((len(labels),), DROPPED, dtype=torch.int8, device=device)
        self._reset_figures()

    def begin_epoch(self, epoch: int) -> Dataset:
        """The epoch's segments."""
        self.encoder.train()
        return self._crops

    def step(self, batch: TrainBatch, progress: float) -> None:
        """Algorithm 1 on a mini-batch."""
        aam, optimiser = self.settings.aam, self.settings.optimiser
        labels = self._labels[batch.utterances.to(self._labels.device, non_blocking=True)]
        margin, gate = self._margin(progress), self._gate(int(progress))

        with torch.no_grad():
            clean = self._cosines(self._features(batch.clean))
            clean_loss = aam_loss(clean, labels, aam.scale, margin)
            decisions = decide(clean_loss, clean, aam.scale, gate)
        augmented = self._cosines(self._features(batch.augmented))
        augmented_loss = aam_loss(augmented, labels, aam.scale, margin)
        loss = gated_loss(decisions, augmented_loss, clean, augmented, aam.scale, gate).mean()

        for group in self._optimiser.param_groups:
            group["lr"] = self._learning_rate(progress)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, optimiser.clip_gradient)
        self._optimiser.step()

        rows = batch.utterances.to(self._labels.device, non_blocking=True)
        self._clean_loss[rows] = clean_loss
        self._decision[rows] = decisions.to(torch.int8)
        self._steps += 1
        self._sums += torch.stack([loss.detach(), clean_loss.mean(), (clean.argmax(dim=1) == labels).float().mean()])

    def _cosines(self, features: Tensor) -> Tensor:
        with self._runtime.autocast():
            embeddings = self.encoder(features)
        return self.classifier(embeddings)

    def _gate(self, epoch: int) -> Gate:
        """The gate in force. Before its first epoch, and in mode `none`, every label counts."""
        gate = self.settings.gate
        closed = gate.mode != "none" and epoch >= gate.gate_start_epoch and self._threshold is not None
        threshold = self._threshold if closed and self._threshold is not None else math.inf
        return Gate(threshold, gate.confidence if gate.mode == "dlg_lc" else 1.0, gate.sharpening)

    def end_epoch(self, epoch: int) -> Row:
        """Fit the mixture to the epoch's clean losses; from the gate's first epoch on, its crossing is the next threshold."""
        losses, decisions = self._clean_loss.cpu().numpy(), self._decision.cpu().numpy()
        shares = {name: float(np.mean(decisions == code)) for code, name in enumerate(DECISIONS)}
        used = self._gate(epoch).threshold
        fit = refit(losses, self._threshold, self.seed)
        self.gate_rows.append(self._gate_row(epoch, used, fit, shares))
        self._follow(fit, epoch)
        loss, loss_clean, accuracy = (self._sums / self._steps).tolist()
        row: Row = {
            "loss": loss,
            "loss_clean": loss_clean,
            "learning_rate": self._learning_rate(epoch),
            "margin": self._margin(epoch),
            "accuracy": accuracy,
            "tau1": used if math.isfinite(used) else None,
            **shares,
            "warning": extreme_gate(shares["reliable"], shares["corrected"]) if math.isfinite(used) else "",
        }
        self._reset_figures()
        return row

    def _follow(self, fit: GateFit, epoch: int) -> None:
        """Take over the threshold of `fit` in the dynamic modes, once the gate is about to act."""
        gate = self.settings.gate
        if gate.mode in ("dlg", "dlg_lc") and epoch + 1 >= gate.gate_start_epoch:
            self._threshold = fit.threshold

    def _gate_row(self, epoch: int, used: float, fit: GateFit, shares: dict[str, float]) -> Row:
        (w1, w2), (m1, m2), (v1, v2) = fit.mixture.weights, fit.mixture.means, fit.mixture.variances
        acting = math.isfinite(used)
        return {
            "modality": MODALITY,
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

    def losses(self, utterances: np.ndarray) -> pd.DataFrame:
        """`losses.parquet`: the last epoch's clean loss and decision of every utterance."""
        decisions = np.array(DECISIONS)[self._decision.cpu().numpy()]
        return pd.DataFrame({"utterance": utterances, "loss_clean": self._clean_loss.cpu().numpy(), "decision": decisions})

    def _learning_rate(self, progress: float) -> float:
        optimiser = self.settings.optimiser
        return warmup_then_exponential(
            progress, self.epochs, optimiser.warmup_epochs, optimiser.learning_rate, optimiser.final_learning_rate
        )

    def _margin(self, progress: float) -> float:
        aam = self.settings.aam
        return margin_ramp(progress, aam.margin_start_epoch, aam.margin_full_epoch, aam.margin)

    def _reset_figures(self) -> None:
        self._steps = 0
        self._sums = torch.zeros(3, device=self._runtime.device)

    def is_finite(self) -> bool:
        """Whether all figures of the epoch so far are finite."""
        return bool(self._sums.isfinite().all())

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "encoder": self.encoder.state_dict(),
            "classifier": self.classifier.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "threshold": self._threshold,
            "gate_rows": self.gate_rows,
            "clean_loss": self._clean_loss,
            "decision": self._decision,
            "figures": {"steps": self._steps, "sums": self._sums},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        self.encoder.load_state_dict(state["encoder"])
        self.classifier.load_state_dict(state["classifier"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._threshold, self.gate_rows = state["threshold"], state["gate_rows"]
        self._clean_loss.copy_(state["clean_loss"])
        self._decision.copy_(state["decision"])
        self._steps = state["figures"]["steps"]
        self._sums.copy_(state["figures"]["sums"])
