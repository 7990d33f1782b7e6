"""BatchNorm whose statistics are those of the whole batch when its parts are on several devices (Ioffe and Szegedy, 2015).

On GPUs it is torch's SyncBatchNorm. That refuses the CPU, where processes talk over Gloo: there `GlooNorm` takes its place, by which
trainings of several processes are tested without a GPU.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from selfsv.models.ecapa import FrameNorm
from selfsv.torch_internals import BatchNorm

Sum = Callable[[Tensor], Tensor]


class SyncFrameNorm(nn.SyncBatchNorm):
    """SyncBatchNorm over all frames of all utterances: a `FrameNorm` of several GPUs."""

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, C] to [B, T, C]."""
        return super().forward(frames.reshape(-1, frames.shape[-1])).view(frames.shape)


class GlooNorm(BatchNorm):
    """BatchNorm whose sums go through a function.

    Args:
        features: C.
        channel: the dimension of the channels.
        add_up: sums a tensor over the processes, with gradients.
    """

    def __init__(self, features: int, channel: int, add_up: Sum):
        super().__init__(features)
        self._channel, self._add_up = channel, add_up

    def forward(self, values: Tensor) -> Tensor:
        """[B, C, H, W], [B, C] or [B, T, C], as the layer it stands for; any process's B may be 0."""
        last = values.movedim(self._channel, -1)
        assert self.running_mean is not None and self.running_var is not None
        mean, variance = self._statistics(last.float()) if self.training else (self.running_mean, self.running_var)
        gain = self.weight * torch.rsqrt(variance + self.eps)
        return (last * gain + (self.bias - mean * gain)).to(values.dtype).movedim(-1, self._channel)

    def _statistics(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance [C] over everything but channels, of all processes' [..., C]; the running ones follow."""
        over = tuple(range(values.ndim - 1))
        local = values.new_full((1,), values.numel() / values.shape[-1])  # a copy from the CPU would be waited for
        count, total = self._add_up(torch.cat([local, values.sum(over)])).split([1, values.shape[-1]])
        mean = total / count
        variance = self._add_up((values - mean).square().sum(over)) / count
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        with torch.no_grad():
            self.num_batches_tracked += 1
            # Without a momentum torch's layers keep the mean over all batches.
            momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), momentum)
        return mean, variance


def synchronise(module: nn.Module, device: torch.device, add_up: Sum) -> None:
    """Replace every BatchNorm layer inside `module` by one that sees the batches of all processes; names and weights stay.

    Layers that do already are left as they are: a network is placed on its device, and its encoder once more when it is prepared.

    Args:
        add_up: sums a tensor over the processes, with gradients; for layers that are not on a GPU.
    """
    for name, part in module.named_children():
        if isinstance(part, nn.SyncBatchNorm | GlooNorm):
            continue
        if isinstance(part, BatchNorm):
            setattr(module, name, _of_all_processes(part, device, add_up))
        else:
            synchronise(part, device, add_up)


def _of_all_processes(norm: BatchNorm, device: torch.device, add_up: Sum) -> BatchNorm:
    layer: BatchNorm
    if device.type == "cuda":
        layer = (SyncFrameNorm if isinstance(norm, FrameNorm) else nn.SyncBatchNorm)(norm.num_features)
    else:
        layer = GlooNorm(norm.num_features, 1 if isinstance(norm, nn.BatchNorm2d) else -1, add_up)
    layer.eps, layer.momentum, layer.weight, layer.bias = norm.eps, norm.momentum, norm.weight, norm.bias
    for name, buffer in norm.named_buffers():
        setattr(layer, name, buffer)
    return layer
