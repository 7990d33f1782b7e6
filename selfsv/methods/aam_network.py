"""An encoder and its AAM classifier, which every training on labels has, whoever the labels come from."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from selfsv.engine.diagnostics import all_finite, few_classes
from selfsv.engine.optimisation import Clipped, clip_together, margin_ramp, warmup_then_exponential
from selfsv.engine.parts import divide_forward
from selfsv.engine.runtime import Runtime
from selfsv.losses.aam import AamClassifier
from selfsv.settings.train import AamTraining, TrainOptimiserSettings


class AamNetwork:
    """Encoder, classifier, and the optimiser of both.

    Args:
        encoder: to be trained, where it starts; as `runtime.prepared` returns it.
        classifier: likewise; its inputs are as long as the encoder's outputs.
        beside: other parameters to be trained at the classifier's rate.
    """

    def __init__(
        self,
        settings: AamTraining,
        encoder: nn.Module,
        classifier: AamClassifier,
        runtime: Runtime,
        beside: Iterable[nn.Parameter] = (),
    ):
        self._settings, self._runtime, self.group = settings, runtime, runtime.group
        self.encoder, self.classifier = encoder, classifier.to(runtime.device)
        divide_forward(encoder, settings.encoder_parts)
        learning = [*self.classifier.parameters(), *beside]
        self._parameters = [*self.encoder.parameters(), *learning]
        self._optimiser = optimiser_of(list(self.encoder.parameters()), learning, settings.optimiser, runtime.device)

    def cosines(self, inputs: Tensor) -> Tensor:
        """Cosines with every class, [B, classes], of what the encoder takes, [B, ...]."""
        with self._runtime.autocast():
            embeddings = self.encoder(inputs)
        return self.classifier(embeddings)

    def losses(self, cosines: Tensor, labels: Tensor, progress: float) -> Tensor:
        """[B] the classifier's losses under the margin at `progress` epochs."""
        return self.classifier.losses(cosines, labels, self._settings.aam.scale, margin(self._settings, progress))

    def update(self, loss: Tensor, progress: float) -> Clipped:
        """Step the optimiser on this process's share of the batch's loss; return what the gradients were like."""
        for group in self._optimiser.param_groups:
            group["lr"] = group["factor"] * learning_rate(self._settings, progress)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.group.sum_gradients(self._parameters)
        clipped = clip_together(self._parameters, self._settings.optimiser.clip_gradient)
        self._optimiser.step()
        return clipped

    @property
    def warning(self) -> str:
        """Describe what is suspicious about the labels; empty where nothing is."""
        return few_classes(self.classifier.classes)

    def is_finite(self) -> bool:
        """Whether all weights are finite."""
        return all_finite(self.encoder, self.classifier)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "encoder": self.encoder.state_dict(),
            "classifier": self.classifier.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s value."""
        self.encoder.load_state_dict(state["encoder"])
        self.classifier.load_state_dict(state["classifier"])
        self._optimiser.load_state_dict(state["optimiser"])


def optimiser_of(
    encoder: list[nn.Parameter], others: list[nn.Parameter], settings: TrainOptimiserSettings, device: torch.device
) -> torch.optim.Optimizer:
    """SGD or Adam; each group of parameters has its `factor` of the learning rate."""
    groups = [{"params": encoder, "factor": settings.encoder_factor}, {"params": others, "factor": 1.0}]
    fused = device.type == "cuda" or None
    if settings.kind == "adam":
        return torch.optim.Adam(groups, lr=0.0, weight_decay=settings.weight_decay, fused=fused)
    return torch.optim.SGD(groups, lr=0.0, momentum=settings.momentum, weight_decay=settings.weight_decay, fused=fused)


def learning_rate(settings: AamTraining, progress: float) -> float:
    """At `progress` epochs."""
    optimiser = settings.optimiser
    return warmup_then_exponential(
        progress, settings.epochs, optimiser.warmup_epochs, optimiser.learning_rate, optimiser.final_learning_rate
    )


def margin(settings: AamTraining, progress: float) -> float:
    """Of AAM, at `progress` epochs."""
    return margin_ramp(progress, settings.aam.margin_start_epoch, settings.aam.margin_full_epoch, settings.aam.margin)


def schedules(settings: AamTraining, epoch: int) -> dict[str, float]:
    """Rate and margin in the middle of an epoch, for its row of the history: at the start of a warm-up the rate would be 0."""
    return {"learning_rate": learning_rate(settings, epoch + 0.5), "margin": margin(settings, epoch + 0.5)}
