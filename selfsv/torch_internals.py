"""Private interfaces of torch that this project uses: all here, each with a test (tests/training/test_internals.py)."""

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

BatchNorm = _BatchNorm  # what BatchNorm1d, BatchNorm2d and SyncBatchNorm have in common


def norms(tensors: list[Tensor]) -> Tensor:
    """[tensors] the norm of each: in a few kernels, where a loop would start one for each."""
    return torch.stack(torch._foreach_norm(tensors))


def scale(tensors: list[Tensor], factors: Tensor) -> None:
    """Multiply each tensor by its own factor, in place.

    Args:
        factors: [tensors].
    """
    torch._foreach_mul_(tensors, list(factors.unbind()))


def copies(tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """New tensors of the same values, in a few kernels."""
    return list(torch._foreach_mul(tensors, 1.0))


def let_vary(tensor: Tensor, dimension: int) -> None:
    """Have the compiler take a dimension as one that may differ from call to call."""
    torch._dynamo.maybe_mark_dynamic(tensor, dimension)
