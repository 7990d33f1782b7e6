"""Averages of the weights of the last checkpoints (Izmailov et al., 2018)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_swa_multi_avg_fn, update_bn

from selfsv.engine.graphs import without_graphs


class WeightAverage:
    """A running mean of state dicts, parameters and statistics alike.

    torch's `AveragedModel` copies a module, with the compiled forward of the original, and refuses to average BatchNorm's counters.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: dict[str, Tensor] = {}

    def add(self, weights: dict[str, Tensor]) -> None:
        """Count `weights` in. Integer entries (BatchNorm's counters) are taken from the newest."""
        averaged = [name for name, value in weights.items() if self.count and value.is_floating_point()]
        if averaged:
            get_swa_multi_avg_fn()([self.mean[name] for name in averaged], [weights[name] for name in averaged], self.count)
        self.mean |= {name: value.detach().clone() for name, value in weights.items() if name not in averaged}
        self.count += 1

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from what `vars` gave of an average, on `device`."""
        self.count, self.mean = state["count"], {name: value.to(device) for name, value in state["mean"].items()}


def reestimate(network: nn.Module, inputs: Iterable[Tensor]) -> None:
    """Replace the running statistics of all BatchNorm layers by their means over the batches `inputs`.

    The mean of several checkpoints' statistics would be that of other weights' activations, and a deep network feels it.

    Args:
        inputs: what `network` takes, one batch at least.
    """
    # Uncompiled: torch would compile each layer again for every number of batches.
    with torch.compiler.set_stance("force_eager"), without_graphs():
        update_bn(inputs, network)
