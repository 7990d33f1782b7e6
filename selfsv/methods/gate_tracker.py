"""One modality's loss-gate: the losses of an epoch, and the threshold that follows from them (paper IV-A, Algorithm 1 lines 5 and 18)."""

import math
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfsv.engine.history import Row
from selfsv.engine.processes import Group
from selfsv.losses.label_correction import AGREED, CORRECTED, DECISIONS, DROPPED, RELIABLE, CleanOutputs, Gate, decide, unreliable
from selfsv.losses.loss_gate import GateFit, Mixture, clean_posterior, refit
from selfsv.methods.prediction_history import PredictionHistory
from selfsv.settings.train import GateSettings

SHARES = tuple(name for code, name in enumerate(DECISIONS) if code != AGREED)


MOST = 0.5  # above this fraction of the epochs


class Judged(NamedTuple):
    """The gate's word on M utterances."""

    decisions: Tensor  # [M] RELIABLE, CORRECTED or DROPPED
    trust: Tensor | None = None  # [M] how far each label counts; None: as `decisions` say


class GateTracker:
    """Clean loss and decision of every utterance of the corpus, the mixture fitted to the losses, and tau_1.

    Args:
        modality: `audio` or `face`, for the rows of `gate.parquet`.
        has_modality: [N] bool, which utterances of the corpus can be heard (or seen); the others do not count.
        several: whether there are other modalities, so that labels can be agreed on.
        history: the predictions so far, where labels are trusted by them.
    """

    def __init__(
        self,
        modality: str,
        settings: GateSettings,
        has_modality: np.ndarray,
        group: Group,
        device: torch.device,
        *,
        several: bool = False,
        history: PredictionHistory | None = None,
    ):
        self._modality, self._settings, self._has_modality, self._group, self._several = modality, settings, has_modality, group, several
        self._history = history
        fixed = settings.fixed_threshold
        assert isinstance(fixed, float)  # a round's own, of the experiment's list
        self._threshold: float | None = fixed if settings.mode == "fixed" else None
        self._mixture: Mixture | None = None
        self.rows: list[Row] = []
        # Of the last epoch; one entry per utterance, so that nothing waits for the device within it.
        self._clean_loss = torch.full((len(has_modality),), math.nan, device=device)
        self._decision = torch.full((len(has_modality),), DROPPED, dtype=torch.int8, device=device)

    def gate(self, epoch: int) -> Gate:
        """The gate in force. Before its first epoch, and in mode `none`, every label counts."""
        settings = self._settings
        acting = settings.mode != "none" and epoch >= settings.gate_start_epoch and self._threshold is not None
        threshold = self._threshold if acting and self._threshold is not None else math.inf
        return Gate(threshold, settings.confidence if settings.mode == "dlg_lc" else 1.0, settings.sharpening)

    def judge(self, clean: CleanOutputs, utterances: Tensor, labels: Tensor, scale: float, epoch: int) -> Judged:
        """Which of M utterances' labels count, and how far (Algorithm 1, lines 6 to 15).

        Args:
            utterances, labels: [M] int64.
            scale: s of the softmax.
        """
        gate, trust = self.gate(epoch), self._settings.trust
        if trust == "threshold" or math.isinf(gate.threshold):
            return Judged(decide(clean.loss, clean.cosines, scale, gate))
        if trust == "history":
            return Judged(self._by_history(utterances, labels, epoch))
        if self._mixture is None or self._mixture.vanished:  # no group of wrong labels: the last threshold that there was decides
            return Judged(decide(clean.loss, clean.cosines, scale, gate))
        share = clean_posterior(clean.loss, self._mixture)
        return Judged(torch.where(share > MOST, RELIABLE, unreliable(clean.cosines, scale, gate)), share)

    def _by_history(self, utterances: Tensor, labels: Tensor, epoch: int) -> Tensor:
        """[M] decisions: a label that was predicted in most of the last epochs counts; where another class was, that is a correction."""
        assert self._history is not None
        predicted, share = self._history.commonest(epoch - 1, utterances)
        other = CORRECTED if self._settings.mode == "dlg_lc" else DROPPED
        return torch.where(share > MOST, torch.where(predicted == labels, RELIABLE, other), DROPPED)

    def opens_in(self, epoch: int) -> bool:
        """Whether this is the first epoch with a gate that follows the losses."""
        return self._settings.mode in ("dlg", "dlg_lc") and epoch == self._settings.gate_start_epoch

    def record(self, utterances: Tensor, clean_loss: Tensor, decisions: Tensor) -> None:
        """Take down what became of each utterance of a batch, in whichever process (Algorithm 1, line 5).

        Args:
            utterances: [M] int64.
            clean_loss: [M].
            decisions: [M].
        """
        rows = self._group.gathered(utterances)
        self._clean_loss[rows] = self._group.gathered(clean_loss)
        self._decision[rows] = self._group.gathered(decisions.to(torch.int8))

    def end_epoch(self, epoch: int) -> Row:
        """Fit the mixture to the epoch's clean losses; its crossing is the next threshold (Algorithm 1, line 18).

        The gate's first epoch comes after one whose margin was full from its start (see the settings): losses under a growing
        margin are no measure of labels.

        Returns:
            tau_1 as it was in force, and the share of utterances under each decision.
        """
        shares, used = self._shares(), self.gate(epoch).threshold
        fit = self._group.on_first_rank(lambda: refit(self._clean_loss.cpu().numpy()[self._has_modality], self._threshold, self._mixture))
        self._mixture = fit.mixture
        tau1 = used if math.isfinite(used) else None
        self.rows.append(self._row(epoch, tau1, fit, shares))
        if self._settings.mode in ("dlg", "dlg_lc") and epoch + 1 >= self._settings.gate_start_epoch:
            self._threshold = fit.threshold
        return {"tau1": tau1, **shares}

    def _shares(self) -> Row:
        """Fractions of the utterances; labels that were agreed on are corrected ones, and counted once more on their own."""
        decision = self._decision.cpu().numpy()[self._has_modality]
        shares = {name: float(np.mean(decision == DECISIONS.index(name))) for name in SHARES}
        if not self._several:
            return shares
        agreed = float(np.mean(decision == AGREED))
        return {**shares, DECISIONS[CORRECTED]: shares[DECISIONS[CORRECTED]] + agreed, DECISIONS[AGREED]: agreed}

    def _row(self, epoch: int, tau1: float | None, fit: GateFit, shares: Row) -> Row:
        """A row of `gate.parquet`."""
        parameters = zip(fit.mixture.weights, fit.mixture.means, fit.mixture.variances, strict=True)
        mixture = {
            f"{name}_{number}": value
            for number, component in enumerate(parameters, 1)
            for name, value in zip(("weight", "mean", "variance"), component, strict=True)
        }
        status = fit.status if tau1 is not None or self._settings.mode.startswith("dlg") else "no gate"
        return {"modality": self._modality, "epoch": epoch, "tau1": tau1, **mixture, **shares, "status": status}

    def recorded(self) -> tuple[np.ndarray, np.ndarray]:
        """The last epoch's clean loss [N] (NaN without this modality) and decision [N], by name."""
        return self._clean_loss.cpu().numpy(), np.array(DECISIONS)[self._decision.cpu().numpy()]

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next epoch depends on."""
        mixture = None if self._mixture is None else asdict(self._mixture)
        memory = {"clean_loss": self._clean_loss, "decision": self._decision}
        return {"threshold": self._threshold, "mixture": mixture, "rows": self.rows, **memory}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        self._threshold, self.rows = state["threshold"], state["rows"]
        self._mixture = None if state["mixture"] is None else Mixture(**state["mixture"])
        self._clean_loss.copy_(state["clean_loss"])
        self._decision.copy_(state["decision"])
