"""A GPU that computes nothing: trainings run on it at their full size, so that their memory is known before there is a GPU.

Tensors on it are torch's fake tensors, which have a shape, a type and a place, but no values. Those of the CPU stay real. The code that
runs is the training's own; only Triton's kernels, which fill tensors that exist already, are left out.
"""

import importlib
import importlib.util
import warnings
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from selfsv.engine.fake_backward import backward, backward_of_all, releasable

GPU = torch.device("cuda", 0)
BLOCK = 512  # bytes: CUDA's allocator of torch rounds up to these
IN_PLACE = ("_fused_sgd_", "_fused_adam_")  # torch has no fake of them; they take no memory
KERNELS = {
    "selfsv.models.fused_norm": ("_moments", "_statistics", "_normalise", "_evaluated", "_sums", "_gradient", "_added"),
    "selfsv.models.fused_excitation": ("_excited", "_products", "_of_inner"),
    "selfsv.models.fused_pooling": ("_rectified", "_rectified_back", "_attended", "_attended_back"),
}


class Allocations(TorchDispatchMode):
    """Counts the bytes of the storages that operations make, as long as they live.

    Attributes:
        live: bytes now.
        peak: the most there were at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._seen: dict[int, Any] = {}

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        self.note(result)
        return result

    def note(self, result: object) -> None:
        """Count what `result` has of new storages; a view has none."""
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())

    def restart(self) -> None:
        """Look for the peak from now on."""
        self.peak = self.live

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._seen:
            return
        size = -(-storage.nbytes() // BLOCK) * BLOCK
        self._seen[key] = weakref.finalize(storage, self._remove, key, size)
        self._seen[key].atexit = False
        self.live += size
        self.peak = max(self.peak, self.live)

    def _remove(self, key: int, size: int) -> None:
        self._seen.pop(key, None)
        self.live -= size


class FakeGpu(Allocations):
    """Inside torch's fake mode: what is on `GPU` is fake and counted, and what is on the CPU is real and not counted."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = tree_leaves((args, kwargs))
        on_gpu = any(isinstance(leaf, FakeTensor) or (isinstance(leaf, torch.device) and leaf.type == "cuda") for leaf in leaves)
        if not on_gpu:
            with unset_fake_temporarily():
                return operation(*args, **(kwargs or {}))
        if operation._schema.name.removeprefix("aten::") in IN_PLACE:
            return None
        result = operation(*args, **(kwargs or {}))
        self.note(result)
        return result


@contextmanager
def fake_gpu() -> Iterator[FakeGpu]:
    """Code inside may use `GPU`; the value counts the memory that it takes there.

    Backward passes release what they have used, as torch's own engine does.
    """
    gpu = FakeGpu()
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(nn.Module, "to", moved))
        stack.enter_context(mock.patch.object(Tensor, "backward", backward))
        stack.enter_context(mock.patch.object(torch.autograd, "backward", backward_of_all))
        stack.enter_context(mock.patch.object(torch.cuda.amp.common, "amp_definitely_not_available", return_value=False))
        stack.enter_context(mock.patch.object(torch.cuda, "is_bf16_supported", return_value=True))
        for module, names in KERNELS.items() if has_kernels() else ():
            for name in names:
                stack.enter_context(mock.patch.object(importlib.import_module(module), name, NoKernel()))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        # torch warns of its own `copy.deepcopy`, which asks a tensor without values where they are.
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor", UserWarning)
        stack.enter_context(gpu)
        stack.enter_context(releasable())
        yield gpu


def has_kernels() -> bool:
    """Whether Triton is installed. It comes with torch's builds for GPUs, and our own kernels need it."""
    return importlib.util.find_spec("triton") is not None


class NoKernel:
    """Stands for a kernel of Triton: launched, it does nothing."""

    def __getitem__(self, grid: object) -> Any:
        return lambda *_: None


def moved(module: nn.Module, device: torch.device = GPU, memory_format: torch.memory_format = torch.preserve_format) -> nn.Module:
    """`module.to(…)`: new parameters, as fake tensors cannot take the place of real ones.

    A module that is there already stays as it is.
    """
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            there = parameter.detach().to(device)
            if parameter.ndim == 4 and memory_format is not torch.preserve_format:  # as torch: of images' convolutions alone
                there = there.contiguous(memory_format=memory_format)
            if there.untyped_storage()._cdata != parameter.untyped_storage()._cdata:
                setattr(part, name, nn.Parameter(there, requires_grad=parameter.requires_grad))
        for name, buffer in part.named_buffers(recurse=False):
            if not isinstance(buffer, FakeTensor):
                setattr(part, name, buffer.to(device))
    return module
