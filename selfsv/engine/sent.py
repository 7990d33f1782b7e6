"""Count the messages that a training's processes would send each other. One process runs all but the sending."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from selfsv.engine.processes import Group

T = TypeVar("T")
HOST_LATENCY = 100e-6  # seconds of one message between the processes' CPUs; assumed, not measured


class Links(NamedTuple):
    """How fast tensors go from GPU to GPU. Assumed, not measured."""

    gigabytes_per_second: float = 450.0  # one way, within a node: NVLink of an H100
    gigabytes_per_second_between_nodes: float = 50.0  # likewise: one InfiniBand NDR port for each GPU
    latency_microseconds: float = 20.0  # of one message


class Sent(NamedTuple):
    """The messages of one step, of each process."""

    between_devices: tuple[int, ...]  # bytes of each
    between_hosts: int  # messages of a number or two
    gradients: int  # bytes of all gradients together, one of the messages above where there are several processes

    @property
    def bytes(self) -> int:
        """Of all messages between devices."""
        return sum(self.between_devices)

    def seconds(self, gpus: int, nodes: int = 1, links: Links | None = None) -> float:
        """The time that they take by a ring, in which each byte is sent and received 2 (p - 1) / p times by each of p processes."""
        processes, links = gpus * nodes, links or Links()
        if processes == 1:
            return 0.0
        rate = 1e9 * (links.gigabytes_per_second if nodes == 1 else links.gigabytes_per_second_between_nodes)
        ring = 2 * (processes - 1) / processes * self.bytes / rate
        return ring + 1e-6 * links.latency_microseconds * len(self.between_devices) + HOST_LATENCY * self.between_hosts


class PretendedGroup(Group):
    """One of several processes, as far as the training sees: everything is done but sending."""

    def _reduced(self, number: int, operation: Any) -> int:
        return self.size * number if operation == dist.ReduceOp.SUM else number

    def sum(self, tensor: Tensor) -> Tensor:
        """A copy of `tensor`."""
        return tensor if self.size == 1 else _Copied.apply(tensor, None)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Put the gradients into one message, and take them out again."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.size == 1 or not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def gathered(self, rows: Tensor) -> Tensor:
        """The own rows, in place of everybody's."""
        return rows if self.size == 1 else torch.cat([rows] * self.size)

    def on_first_rank(self, make: Callable[[], T]) -> T:
        """What this process makes."""
        return make()


class NotedGroup(PretendedGroup):
    """Writes down what would be sent."""

    def __init__(self, rank: int = 0, size: int = 2):
        super().__init__(rank, size)
        self._messages: list[int] = []
        self._hosts = self._gradients = 0

    def begin(self) -> None:
        """Forget what has been sent so far."""
        self._messages.clear()
        self._hosts = self._gradients = 0

    def sent(self) -> Sent:
        """What was sent since."""
        return Sent(tuple(self._messages), self._hosts, self._gradients)

    def _reduced(self, number: int, operation: Any) -> int:
        self._hosts += self.size > 1
        return super()._reduced(number, operation)

    def sum(self, tensor: Tensor) -> Tensor:
        """A copy of `tensor`, noted forth and back."""
        return tensor if self.size == 1 else _Copied.apply(tensor, self._messages)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """As one message."""
        parameters = list(parameters)
        size = sum(parameter.grad.nbytes for parameter in parameters if parameter.grad is not None)
        self._gradients += size
        if self.size > 1:
            self._messages.append(size)
        super().sum_gradients(parameters)

    def gathered(self, rows: Tensor) -> Tensor:
        """As many rows from every process."""
        if self.size > 1:
            self._hosts += 1  # their numbers
            if rows.device.type == "cpu":
                self._hosts += 1
            else:
                self._messages.append(rows.nbytes * self.size // 2)  # a gathering is half of a sum
        return super().gathered(rows)

    @contextmanager
    def noting_norms(self) -> Iterator[None]:
        """Note what torch's SyncBatchNorm sends, which no group sees: means, variances and counts forth, two sums back."""

        def note(module: nn.Module, _: Any, outputs: Any) -> None:
            if isinstance(module, nn.SyncBatchNorm) and module.training and self.size > 1:
                self._messages.append(4 * (2 * module.num_features + 1))
                if outputs.requires_grad:
                    self._messages.append(4 * 2 * module.num_features)

        hook = nn.modules.module.register_module_forward_hook(note)
        try:
            yield
        finally:
            hook.remove()


class _Copied(torch.autograd.Function):
    """What a sum over processes does beside sending; the message forth, and the one back, are written down."""

    @staticmethod
    def forward(context: Any, tensor: Tensor, messages: list[int] | None) -> Tensor:
        context.messages = messages
        if messages is not None:
            messages.append(tensor.nbytes)
        return tensor.contiguous().clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        if context.messages is not None:
            context.messages.append(gradient.nbytes)
        return gradient.contiguous().clone(), None
