"""The device of a script: options, set-up, threads."""

import argparse
import ctypes

import torch

from selfsv.errors import InputError

# Parameters of glibc's mallopt.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the device and its threads."""
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())


def device_from(args: argparse.Namespace) -> torch.device:
    """The device that the options of `add_device_arguments` ask for, with the process set up for it.

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
    return device


def image_layout(device: torch.device) -> torch.memory_format:
    """The memory format of images, and of the weights that convolve them, on `device`: the same for both, and for every batch.

    Channels last on a GPU, whose bfloat16 convolutions copy whatever comes otherwise. Channels first on the CPU: there oneDNN's
    backward pass of a strided 1 x 1 convolution of eight channels with channels last ends the process (float32, AVX-512,
    torch 2.11 to 2.14).
    """
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


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
