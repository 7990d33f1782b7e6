"""Compiled encoders: few graphs of `torch.compile`, whether a device can have any kernels, and kernels that outlive the job."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from selfsv.torch_internals import let_vary

KERNELS = "TORCHINDUCTOR_CACHE_DIR"
OWN_KERNELS = "TRITON_CACHE_DIR"


def compile_forward(module: nn.Module, backend: str | Callable = "inductor") -> None:
    """Let `module` run compiled, by one graph for each length of crop and way of running (with and without gradients).

    Left to itself, torch takes whatever differs between two calls to vary freely: the number of frames with it, once it has
    seen crops of two lengths. Here the batch alone varies, as it does by one within an epoch. Whole utterances (those that
    come with `lengths`) are of any number of frames, and share one graph.

    Args:
        module: takes [B, ...], and perhaps lengths [B].
    """
    forward = torch.compile(module.forward, dynamic=False, backend=backend)

    def marked(inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        let_vary(inputs, 0)
        if lengths is None:
            return forward(inputs)
        let_vary(inputs, 1)
        let_vary(lengths, 0)
        return forward(inputs, lengths)

    module.forward = marked


def obstacle(device: torch.device) -> str:
    """The reason why nothing can be compiled for `device`, in a line; empty where it can.

    It is tried out on a sum: a C compiler, Python's headers, a GPU that Triton has code for, and a folder that libraries may be loaded
    from must all be there.
    """
    try:
        if device.type == "cuda":
            from selfsv.models.fused_norm import added  # Triton comes with torch's builds for GPUs alone

            added(torch.ones(2, 8, device=device))
        else:
            torch.compile(_doubled, dynamic=False)(torch.ones(8, device=device))
    except Exception as error:  # torch, Triton, the compiler and the system each have their own
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return ""


def _doubled(values: Tensor) -> Tensor:
    return values + values


def keep_kernels(folder: Path) -> None:
    """Have compiled kernels kept in `folder`, unless the environment names a place: the next job need not compile them anew.

    torch's own place is on the node, and often in its memory.
    """
    os.environ.setdefault(KERNELS, str(folder.absolute()))
    os.environ.setdefault(OWN_KERNELS, str(folder.absolute() / "triton"))
