"""A GPU that computes nothing: what runs on it must stay on it, and must not wait for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU = torch.device("cuda", 0)


class PretendedGpu(TorchDispatchMode):
    """Inside torch's fake mode: tensors on `GPU` have a shape, a type and a place, but no values; those of the CPU are real.

    As on a GPU, an operation on tensors of two places is an error (torch's fake tensors see to that). Reading a value of the
    GPU's, for which a real one would have to be waited for, is an error as well.
    """

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = tree_leaves((args, kwargs))
        here = [leaf for leaf in leaves if isinstance(leaf, FakeTensor)]
        if not here and not any(isinstance(leaf, torch.device) and leaf.type == "cuda" for leaf in leaves):
            with unset_fake_temporarily():
                return operation(*args, **(kwargs or {}))
        if any(isinstance(leaf, torch.device) and leaf.type == "cpu" for leaf in leaves):
            raise AssertionError(f"{operation} copies from the GPU, which is waited for")
        if operation is torch.ops.aten._fused_sgd_.default:  # torch has no fake of it
            assert {tensor.device for tensor in here} == {GPU}
            return None
        return operation(*args, **(kwargs or {}))


@contextmanager
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Code inside may use `GPU`. There is no backward pass: gradients of parameters that a loss depends on are just there."""
    monkeypatch.setattr(torch, "load", unset_fake_temporarily()(torch.load))
    monkeypatch.setattr(nn.Module, "to", moved)
    monkeypatch.setattr(Tensor, "backward", with_gradients)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    with FakeTensorMode(allow_non_fake_inputs=True), PretendedGpu():
        yield


def moved(module: nn.Module, device: torch.device = GPU, memory_format: torch.memory_format = torch.preserve_format) -> nn.Module:
    """`module.to(…)`: new parameters, as fake tensors cannot take the place of real ones."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            layout = memory_format if parameter.ndim == 4 else torch.preserve_format  # as torch: of images' convolutions alone
            there = parameter.detach().to(device).clone(memory_format=layout)
            setattr(part, name, nn.Parameter(there, requires_grad=parameter.requires_grad))
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, buffer.to(device))
    return module


def with_gradients(loss: Tensor) -> None:
    """Give every parameter that `loss` depends on a gradient: torch's engine runs on no device that is not there."""
    ahead, seen = [loss.grad_fn], set()
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            node.variable.grad = torch.zeros_like(node.variable)
        ahead += [following for following, _ in node.next_functions]
