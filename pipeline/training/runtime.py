"""How a training or extraction job is carried out: device, workers, precision. Never what it computes."""

import argparse
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pipeline.device import add_device_arguments, device_from


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
    add_device_arguments(parser)
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
    device = device_from(args)
    bfloat16 = args.precision == "bfloat16" or (args.precision == "auto" and device.type == "cuda")
    return Runtime(device, args.workers, bfloat16, bool(args.compile), 60 * args.checkpoint_minutes)
