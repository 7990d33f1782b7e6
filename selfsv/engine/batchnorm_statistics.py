"""BatchNorm's statistics for weights that no batch has been through: those of an average (Izmailov et al., 2018)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def reestimate(network: nn.Module, inputs: Iterable[Tensor]) -> None:
    """Replace the running statistics of all BatchNorm layers by their means over the batches `inputs`.

    The mean of several checkpoints' statistics would be that of other weights' activations, and a deep network feels it. Means
    and variances are averaged over batches, as training's own running ones are, only without forgetting.

    Args:
        inputs: what `network` takes; without any the statistics stay as they are.
    """
    norms: list[Any] = [module for module in network.modules() if isinstance(getattr(module, "running_var", None), Tensor)]
    momenta = [norm.momentum for norm in norms]
    training, batches = network.training, 0
    network.train()
    totals = [torch.zeros_like(statistic) for statistic in _statistics(norms)]
    for norm in norms:
        norm.momentum = 1.0  # what is running is then that of the last batch; one value, as a compiled network is made for each
    for batch in inputs:
        network(batch)
        torch._foreach_add_(totals, _statistics(norms))
        batches += 1
    if batches:
        torch._foreach_copy_(_statistics(norms), torch._foreach_div(totals, batches))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(training)


def _statistics(norms: list[Any]) -> list[Tensor]:
    """The running means and variances of all layers."""
    return [statistic for norm in norms for statistic in (norm.running_mean, norm.running_var)]
