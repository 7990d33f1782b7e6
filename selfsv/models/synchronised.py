"""BatchNorm whose statistics are those of the whole batch when its parts lie on several GPUs (Ioffe and Szegedy, 2015).

torch's SyncBatchNorm does the same but for GPUs alone, and knows no layout [..., channels]; this one is tested on the CPU.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Sum = Callable[[Tensor], Tensor]


class SynchronisedNorm(nn.Module):
    """Takes the place of a BatchNorm layer, with its weights and statistics under the same names.

    Args:
        norm: affine, with running statistics.
        add_up: sums a tensor over the processes, with gradients.
    """

    def __init__(self, norm: _BatchNorm, add_up: Sum):
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        for name, buffer in norm.named_buffers():
            self.register_buffer(name, buffer)
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches_tracked: Tensor
        self.eps, self.momentum = norm.eps, 0.1 if norm.momentum is None else norm.momentum
        self._channel = 1 if isinstance(norm, nn.BatchNorm2d) else -1
        self._add_up = add_up

    def forward(self, values: Tensor) -> Tensor:
        """[B, C, H, W], [B, C] or [B, T, C], as the layer it stands for; any process's B may be 0."""
        last = values.movedim(self._channel, -1)
        mean, variance = self._statistics(last.float()) if self.training else (self.running_mean, self.running_var)
        gain = self.weight * torch.rsqrt(variance + self.eps)
        return (last * gain + (self.bias - mean * gain)).to(values.dtype).movedim(-1, self._channel)

    def _statistics(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance [C] over everything but channels, of all processes' [..., C]; the running ones follow."""
        over = tuple(range(values.ndim - 1))
        here = values.new_full((1,), values.numel() / values.shape[-1])  # a copy from the CPU would be waited for
        count, total = self._add_up(torch.cat([here, values.sum(over)])).split([1, values.shape[-1]])
        mean = total / count
        variance = self._add_up((values - mean).square().sum(over)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return mean, variance


def synchronise(module: nn.Module, add_up: Sum) -> None:
    """Replace every BatchNorm layer inside `module` by one that `add_up`s its statistics."""
    for name, part in module.named_children():
        if isinstance(part, _BatchNorm):
            setattr(module, name, SynchronisedNorm(part, add_up))
        else:
            synchronise(part, add_up)
