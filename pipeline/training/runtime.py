"""How a training or extraction job is carried out: device, threads, precision. Never what it computes."""

import argparse
import ctypes
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pipeline.errors import InputError

# Parameters of glibc's mallopt.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


@dataclass(frozen=True)
class Runtime:
    """Where and how a job runs."""

    device: torch.device
    workers: int
    bfloat16: bool
    compile: bool
    checkpoint_seconds: float

    def autocast(self) -> AbstractContextManager:
        """bfloat16 matrix products inside, where the job runs in that precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def prepared(self, module: nn.Module) -> nn.Module:
        """`module` on the device, compiled where that is asked for and there is a GPU."""
        module = module.to(self.device)
        if self.compile and self.device.type == "cuda":
            module.compile()
        return module


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every training and extraction script takes; the workflow fills them from `runtime`."""
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--compile", type=int, choices=[0, 1], default=0)
    parser.add_argument("--checkpoint-minutes", type=float, default=10.0)


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """The packed corpus that a script reads."""
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--audio", type=Path, nargs="+", required=True)


def runtime_from(args: argparse.Namespace) -> Runtime:
    """The runtime that the options of `add_arguments` ask for, with the process set up for it.

    Raises:
        InputError: a GPU was asked for and there is none.
    """
    if args.device == "cuda" and not torch.cuda.is_available():
        raise InputError("runtime.device is 'cuda', but no GPU can be seen: set it to 'auto' or 'cpu', or ask the cluster for a GPU")
    name = "cuda" if args.device == "auto" and torch.cuda.is_available() else args.device
    device = torch.device("cpu" if name == "auto" else name)
    torch.set_num_threads(args.threads)
    if device.type == "cpu":
        keep_freed_memory()
    bfloat16 = args.precision == "bfloat16" or (args.precision == "auto" and device.type == "cuda")
    return Runtime(device, args.workers, bfloat16, bool(args.compile), 60 * args.checkpoint_minutes)


def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed activations instead of handing it back to the kernel at every step.

    A training step on the CPU allocates and frees the same hundreds of megabytes each time; fetching them anew, page by
    page, took more than a third of the step. Other C libraries have no mallopt and go without.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 2**28)
