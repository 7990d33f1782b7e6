"""CUDA graphs of an encoder in training: the host starts one graph where it would start some hundred kernels.

A step of ECAPA-TDNN takes a fast GPU less time than its host needs to start the kernels. A graph is recorded once for each shape of inputs,
and replayed from then on. It computes the same, with the same kernels.
"""

import logging
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from selfsv.torch_internals import copies

log = logging.getLogger(__name__)

WARM_UP = 2  # calls with a shape before it is recorded: libraries and kernels load and compile in the first
MOST_SHAPES = 12  # a training has few: long and short crops, of batches whose sizes differ by one, with and without gradients
_paused = False


@contextmanager
def without_graphs() -> Iterator[None]:
    """Inside nothing is recorded or replayed: the layers may be set to behave unlike they do in a training step."""
    global _paused
    before, _paused = _paused, True
    try:
        yield
    finally:
        _paused = before


def replay(module: nn.Module) -> None:
    """Let `module`, an encoder on a GPU, train by graphs. In evaluation nothing changes.

    Its weights must stay where they are in memory: they may be written to, but not replaced.
    """
    module.forward = GraphedForward(module)


class Recorded(Protocol):
    """A forward pass that can be replayed on new inputs, and its backward pass."""

    def forward(self, inputs: Tensor) -> Tensor:
        """The outputs for `inputs`, of the shape that was recorded."""

    def backward(self, upstream: Tensor) -> list[Tensor]:
        """The weights' gradients, after `forward` and before the next one."""


class GraphedForward:
    """The forward of a module: recorded for each shape that comes more than a few times.

    Args:
        record: makes a recording of a module's plain forward for inputs like those given, in a memory pool.
    """

    def __init__(self, module: nn.Module, record: Callable[[nn.Module, Tensor, Any], Recorded] | None = None):
        self._module, self._plain = module, module.forward
        self._weights = trained(module)
        self._record = Recording if record is None else record
        self._seen: Counter[tuple] = Counter()
        self._recordings: dict[tuple, Recorded] = {}
        self._pools: dict[tuple, Any] = {}
        self._open: dict[tuple, weakref.ref[_Pending]] = {}
        self._works = True

    def __call__(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """As the module's own."""
        recorded = self._works and not _paused and self._module.training
        if not recorded or lengths is not None or inputs.requires_grad:
            return self._plain(inputs) if lengths is None else self._plain(inputs, lengths)
        shape = (*inputs.shape, torch.is_grad_enabled())
        recording = self._recordings.get(shape) or self._recorded(shape, inputs)
        # A second pass before the first one's gradients are taken would overwrite what those need.
        if recording is None or self._is_open(pool_of(shape)):
            return self._plain(inputs)
        pending = _Pending()
        self._open[pool_of(shape)] = weakref.ref(pending)
        return _Replay.apply(recording, pending, inputs, *self._weights)

    def _is_open(self, pool: tuple) -> bool:
        pending = self._open[pool]() if pool in self._open else None
        return pending is not None and not pending.done

    def _recorded(self, shape: tuple, inputs: Tensor) -> Recorded | None:
        """A new recording; None where it is too early, there are too many, or it fails."""
        self._seen[shape] += 1
        if self._seen[shape] <= WARM_UP or len(self._recordings) >= MOST_SHAPES:
            return None
        pool = pool_of(shape)
        try:
            if pool not in self._pools:
                self._pools[pool] = torch.cuda.graph_pool_handle() if inputs.is_cuda else None
            self._recordings[shape] = self._record(self._module, inputs, self._pools[pool])
        except RuntimeError as error:  # too little memory among them: all of it is needed for the plain passes
            self._works = False
            self._recordings.clear()
            self._pools.clear()
            log.warning("the encoder's kernels are started one by one, which is slower: %s", str(error).splitlines()[0])
            return None
        return self._recordings[shape]


def pool_of(shape: tuple) -> tuple:
    """Which recordings share memory: those of all batch sizes, which follow one another and are never at work at the same time."""
    return shape[1:]


def trained(module: nn.Module) -> list[Tensor]:
    """The weights that get gradients."""
    return [weight for weight in module.parameters() if weight.requires_grad]


class _Pending:
    """A forward pass whose gradients may still be asked for. It dies with what remembers the pass."""

    done = False


class Recording:
    """CUDA graphs of both passes.

    Args:
        module: trains.
        inputs: like those to come; they are not used.
        pool: of memory.
    """

    def __init__(self, module: nn.Module, inputs: Tensor, pool: Any):
        self._inputs, self._forward_graph = inputs.clone(), torch.cuda.CUDAGraph()
        # The same memory under other names: a pass of this step that is not done yet has the weights' own gradients on another stream.
        weights = {name: weight.detach().requires_grad_() for name, weight in module.named_parameters() if weight.requires_grad}
        kind = inputs.device.type
        # Weights that are cached in another precision would not follow the optimiser.
        uncached = torch.autocast(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind), cache_enabled=False)
        with _recording(self._forward_graph, pool), uncached, without_graphs():
            outputs = functional_call(module, weights, (self._inputs,))
        self._outputs = outputs.detach()
        if outputs.requires_grad:
            self._backward_graph, self._upstream = torch.cuda.CUDAGraph(), torch.empty_like(outputs)
            with _recording(self._backward_graph, pool):
                self._gradients = torch.autograd.grad(outputs, list(weights.values()), self._upstream)

    def forward(self, inputs: Tensor) -> Tensor:
        """See `Recorded`."""
        self._inputs.copy_(inputs)
        self._forward_graph.replay()
        return self._outputs.clone()

    def backward(self, upstream: Tensor) -> list[Tensor]:
        """See `Recorded`."""
        self._upstream.copy_(upstream)
        self._backward_graph.replay()
        return copies(self._gradients)  # the next replay overwrites its own; autograd may add to what it is given


def _recording(graph: torch.cuda.CUDAGraph, pool: Any) -> Any:
    # Of this thread alone: that which pins the next batches' memory goes on meanwhile.
    return torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local")


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, recording: Recorded, pending: _Pending, inputs: Tensor, *_: Tensor) -> Tensor:
        context.recording, context.pending = recording, pending
        return recording.forward(inputs)

    @staticmethod
    @once_differentiable
    def backward(context: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        context.pending.done = True
        return None, None, None, *context.recording.backward(upstream)
