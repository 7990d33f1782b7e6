"""The processes that carry out one job together, one per GPU, or one process on its own."""

import atexit
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from selfsv.errors import StalledError

T = TypeVar("T")
PATIENCE = timedelta(days=30)  # one process may wait for another run's lock or cluster millions of embeddings meanwhile
STALL_MINUTES = 30.0  # for everything else: a step, a saved state
LONGEST_ROLL_CALL = timedelta(minutes=1)
MISSED = ("gloo", "NCCL", "ProcessGroup", "Connection closed by peer")  # in what torch says when other processes do not answer


class Group:
    """`size` processes that hold the same weights and see different parts of each batch.

    Every method but `part` and `answering` is a collective call: all processes of the group make it, in the same order. In a group of
    one it costs nothing. Tensors go over NCCL on GPUs; numbers and objects over Gloo, so that nothing waits for the device.

    Args:
        stall: how long processes wait for each other within a step.
        patient: torch's group of the same processes for waits that may be long; None: its default group.
        watch: another one, which is still whole when the default group has failed.
    """

    def __init__(
        self, rank: int = 0, size: int = 1, stall: timedelta = timedelta(minutes=STALL_MINUTES), patient: Any = None, watch: Any = None
    ):
        self.rank, self.size, self._stall = rank, size, stall
        self._patient, self._watch = patient, watch

    def __deepcopy__(self, _: object) -> Self:
        """The group itself: a copy of a network whose BatchNorm sums over the group, as a teacher is, belongs to the same processes."""
        return self

    @property
    def first(self) -> bool:
        """Whether this process is the one that reads and writes files."""
        return self.rank == 0

    def total(self, count: int) -> int:
        """The sum of a number over the group."""
        return self._reduced(count, dist.ReduceOp.SUM)

    def largest(self, number: int) -> int:
        """The largest of the group's numbers."""
        return self._reduced(number, dist.ReduceOp.MAX)

    def _reduced(self, number: int, operation: Any) -> int:
        if self.size == 1:
            return number
        shared = torch.tensor(number)
        dist.all_reduce(shared, operation)
        return int(shared)

    def sum(self, tensor: Tensor) -> Tensor:
        """`tensor`, of one shape everywhere, added up over the group. Gradients flow back to every process."""
        return tensor if self.size == 1 else _Sum.apply(tensor)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add up the gradients of `parameters` over the group, in place, in one message.

        DistributedDataParallel would hide that message behind the backward pass, and wants one forward per step through its wrapper,
        where CA-DINO's student has two. It would hide little: 113 MB are 0.4 ms of a step of 64 (docs/benchmarks/speed.md).
        """
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.size == 1 or not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows [M, ...] of all processes, in their order; M may differ between them."""
        if self.size == 1:
            return rows
        counts = [torch.tensor(0) for _ in range(self.size)]
        dist.all_gather(counts, torch.tensor(len(rows)))
        padded = rows.new_zeros(max(map(int, counts)), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.cat([part[: int(count)] for part, count in zip(parts, counts, strict=True)])

    def whole(self, part: Tensor, dimension: int) -> tuple[Tensor, int]:
        """The parts of all processes, side by side, and where this process's part begins. Gradients flow back to every process.

        Args:
            part: of one shape everywhere, but for the length of `dimension`.
        """
        if self.size == 1:
            return part, 0
        own = part.shape[dimension]
        counts = self.gathered(torch.tensor([own])).tolist()
        shape, first = list(part.shape), sum(counts[: self.rank])
        shape[dimension] = sum(counts)
        placed = part.new_zeros(shape)
        placed.narrow(dimension, first, own).copy_(part)
        return self.sum(placed), first

    def on_first_rank(self, make: Callable[[], T]) -> T:
        """Call `make` in the first process, and return its result in all of them."""
        if self.size == 1:
            return make()
        result = [make() if self.first else None]
        dist.broadcast_object_list(result, device=torch.device("cpu"), group=self._patient)
        return result[0]  # type: ignore[return-value]

    def meet(self) -> None:
        """Wait until all processes are here, however long that takes: after work of unequal length."""
        if self.size > 1:
            dist.barrier(group=self._patient)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Inside, another process that stalls or is gone ends this one with an error that names it.

        Raises:
            StalledError: others did not answer in time.
        """
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not any(words in str(error) for words in MISSED):
                raise
            raise StalledError(self._missing()) from error

    def _missing(self) -> str:
        """Ask all processes to answer, and name those that do not."""
        wait = min(self._stall, LONGEST_ROLL_CALL)
        here = f"process {self.rank} of {self.size} (pid {os.getpid()} on {socket.gethostname()})"
        begin = f"{here} waited {self._stall.total_seconds() / 60:g} minutes at most for the others"
        try:
            dist.monitored_barrier(self._watch, wait, wait_all_ranks=True)
        except RuntimeError as error:
            named = re.search(r"Ranks? ([\d, ]+) failed to pass", str(error))
            who = f"process {named[1].strip()}" if named else "process 0" if not self.first else "others"
            return f"{begin}: {who} does not answer. It is stopped, has died or has run out of memory; see its log, and the node's"
        return f"{begin}, and all of them answer now: something holds them up, a slow disk for example (runtime.stall_minutes)"

    def part(self, items: list[T]) -> list[T]:
        """This process's share of work that does not depend on order."""
        return items[self.rank :: self.size]


class _Sum(torch.autograd.Function):
    """A sum over the group; each process's gradient is the sum of the group's gradients."""

    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        total = tensor.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def local_processes() -> int:
    """The number of the job's processes that share this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if dist.is_torchelastic_launched() else 1


def local_rank() -> int:
    """This process's number among those of the machine, which is the number of its GPU."""
    return int(os.environ["LOCAL_RANK"]) if dist.is_torchelastic_launched() else 0


def joined(device: torch.device, stall_minutes: float = STALL_MINUTES) -> Group:
    """The group that `torchrun` started this process in; one of its own otherwise.

    Args:
        stall_minutes: that processes wait for each other within a step.
    """
    if not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        return Group()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    stall = timedelta(minutes=stall_minutes)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=stall)
    atexit.register(dist.destroy_process_group)
    patient, watch = (dist.new_group(backend="gloo", timeout=wait) for wait in (PATIENCE, stall))
    return Group(dist.get_rank(), dist.get_world_size(), stall, patient, watch)
