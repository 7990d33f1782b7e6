"""Audio and pictures of the next batch travel to the GPU while it trains on this one."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

BULKY = (torch.int16, torch.uint8)  # samples and pixels; how they are augmented is read on the CPU, and stays there


def copied_ahead(batches: Iterator[Any], device: torch.device) -> Iterator[Any]:
    """The batches in order, each one's samples and pixels on `device`, a GPU, when it is asked for.

    A copy takes the GPU no time of its own if it runs beside the kernels of the step before.

    Args:
        batches: named tuples of tensors, in pinned memory.
    """
    beside, waiting = torch.cuda.Stream(device), None
    for batch in batches:
        with torch.cuda.stream(beside):
            following = bulky_on(device, batch), beside.record_event()
        if waiting is not None:
            yield _usable(*waiting)
        waiting = following
    if waiting is not None:
        yield _usable(*waiting)


def bulky_on(device: torch.device, batch: Any) -> Any:
    """`batch` with its samples and pixels on `device`."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True) if batch.dtype in BULKY else batch
    return type(batch)(*(bulky_on(device, part) for part in batch)) if isinstance(batch, tuple) else batch


def _usable(batch: Any, copied: torch.cuda.Event) -> Any:
    """`batch`, on which the current stream may work from here on."""
    stream = torch.cuda.current_stream()
    stream.wait_event(copied)
    for tensor in tensors_of(batch):
        if tensor.is_cuda:
            tensor.record_stream(stream)
    return batch


def tensors_of(batch: object) -> Iterator[Tensor]:
    """The tensors of a batch: of nested tuples."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, tuple):
        for part in batch:
            yield from tensors_of(part)
