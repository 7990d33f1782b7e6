"""The device, workers and precision of a training or extraction job. Nothing here changes what it computes."""

import argparse
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from selfsv.data.features import LogMel
from selfsv.device import add_device_arguments, device_from, image_layout
from selfsv.engine.allocation import Allocation, current_allocation
from selfsv.engine.compilation import compile_forward, keep_kernels, obstacle
from selfsv.engine.graphs import replay
from selfsv.engine.processes import STALL_MINUTES, Group, joined, local_processes, local_rank
from selfsv.errors import InputError
from selfsv.models.fused import fuse
from selfsv.models.synchronised import synchronise
from selfsv.provenance import code_version

log = logging.getLogger(__name__)
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Runtime:
    """The device of a job and how it computes there."""

    device: torch.device
    workers: int
    bfloat16: bool
    compile: bool
    checkpoint_seconds: float
    group: Group = field(default_factory=Group)
    cores: int = field(default_factory=torch.get_num_threads)  # of the job on this machine, for all of its processes together
    graphs: bool = True  # whether a compiled encoder on a GPU trains by CUDA graphs
    allocation: Allocation | None = None  # of the first process of a training

    def __post_init__(self) -> None:
        code_version()  # the one that the job begins with: a long training may outlive edits of its code

    def provenance(self) -> dict[str, Any]:
        """The device and precision, for the files that a training leaves."""
        gpu = self.device.type == "cuda"
        return {
            "code_version": code_version(),
            "device": torch.cuda.get_device_name(self.device) if gpu else self.device.type,
            "precision": "bfloat16" if self.bfloat16 else "float32",
            "processes": self.group.size,
        }

    def autocast(self) -> AbstractContextManager:
        """bfloat16 matrix products inside, where the job runs in that precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    @contextmanager
    def all_cores(self) -> Iterator[None]:
        """This process computes on all cores of the job meanwhile, also in faiss, which follows torch: the others wait for it."""
        share = torch.get_num_threads()
        torch.set_num_threads(max(share, self.cores))
        try:
            yield
        finally:
            torch.set_num_threads(share)

    def placed(self, module: Module) -> Module:
        """`module` on the device, in its layout; where several processes train, its BatchNorm layers see the batches of all."""
        if self.group.size > 1:
            synchronise(module, self.device, self.group.sum)
        return module.to(self.device).to(memory_format=image_layout(self.device))

    @property
    def _own_kernels(self) -> bool:
        return self.compile and self.device.type == "cuda"

    def prepared(self, module: Module) -> Module:
        """`module` as `placed`, and compiled where that is asked for: on a GPU with kernels of our own, and as CUDA graphs."""
        module = self.placed(module)
        if self._own_kernels:
            fuse(module)
            if self.graphs and self.group.size == 1:  # sums over several processes are not recorded
                replay(module)
        elif self.compile:
            compile_forward(module)
        return module

    def extracting(self, module: Module) -> Module:
        """`module` as `placed`, with our own kernels where it has some. torch's compiler would take longer than it wins back."""
        module = self.placed(module)
        if self._own_kernels:
            fuse(module)
        return module

    def with_kernels(self, log_mel: LogMel) -> LogMel:
        """Features by our own kernels, where the job runs on a GPU that can have them."""
        if self._own_kernels:
            from selfsv.data.fused_features import fuse_features  # Triton comes with torch's builds for GPUs alone

            fuse_features(log_mel)
        return log_mel


def add_extraction_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a script that runs encoders and trains none; the workflow fills them from `runtime`.

    Of compiled kernels it takes our own, which are ready in seconds.
    """
    add_device_arguments(parser)
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.set_defaults(workers=0, compile="auto", checkpoint_minutes=10.0, stall_minutes=STALL_MINUTES, leave_minutes=None)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every training script takes; the workflow fills them from `runtime`."""
    add_extraction_arguments(parser)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--compile", choices=["auto", "true", "false"], default="false")
    parser.add_argument("--checkpoint-minutes", type=float, default=10.0)
    parser.add_argument("--stall-minutes", type=float, default=STALL_MINUTES)
    parser.add_argument("--scratch", help="folder of this machine that the packed audio is copied to and read from; default: none")
    parser.add_argument("--leave-minutes", type=float, help="before a SLURM job's end, at which it goes back to the queue; default: never")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """The packed corpus that a script reads."""
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--audio", type=Path, nargs="+", required=True)


def own_gpu() -> torch.device:
    """The GPU of this process.

    Raises:
        InputError: there are more processes than GPUs.
    """
    if local_processes() > torch.cuda.device_count():
        raise InputError(f"runtime.gpus is {local_processes()}, but this machine shows {torch.cuda.device_count()}: lower it")
    return torch.device("cuda", local_rank())


def runtime_from(args: argparse.Namespace) -> Runtime:
    """The runtime that the options of `add_arguments` ask for, with the process set up for it.

    Cores and workers are the job's: processes of one machine share them. Unless asked otherwise, the encoder is compiled on a GPU
    alone, where that is possible: on the CPU it takes minutes, which only large encoders and hours of training win back, and rounds
    differently. Nor is bfloat16 chosen on GPUs older than Ampere, which emulate it and are slower for it.

    Raises:
        InputError: a GPU was asked for and there is none.
    """
    device, processes = device_from(args), local_processes()
    if processes > 1:
        torch.set_num_threads(max(1, args.threads // processes))
        device = own_gpu() if device.type == "cuda" else device
    workers, group = -(-args.workers // processes), joined(device, args.stall_minutes)
    if not group.first:
        logging.disable(logging.WARNING)  # the first process speaks for all
    bfloat16, compiles = _bfloat16(args, device), _compiles(args, device)
    allocation = current_allocation(args.leave_minutes) if group.first and args.leave_minutes is not None else None
    return Runtime(device, workers, bfloat16, compiles, 60 * args.checkpoint_minutes, group, args.threads, allocation=allocation)


def _bfloat16(args: argparse.Namespace, device: torch.device) -> bool:
    """Whether matrix products are bfloat16's."""
    if args.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return args.precision == "bfloat16"


def _compiles(args: argparse.Namespace, device: torch.device) -> bool:
    """Whether encoders are compiled; with `auto`, only where compilation was seen to work."""
    if args.compile == "false" or (args.compile == "auto" and device.type != "cuda"):
        return False
    if "state" in args:
        keep_kernels(args.state / "compiled")
    reason = obstacle(device) if args.compile == "auto" else ""
    if reason and "state" in args:  # an extraction is through soon anyway
        log.warning("the encoder is not compiled, which is slower: %s. Set runtime.compile to false to silence this", reason)
    return not reason
