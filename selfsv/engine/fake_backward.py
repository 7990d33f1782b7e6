"""A backward pass over fake tensors. torch's own engine asks for the streams of a GPU, which fails where there is none.

Operations, their order and what lives how long are those of the engine: of what can run, the operation that was recorded last runs first,
and what it has saved is released when it has run.
"""

import heapq
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
from torch import Tensor

Node = Any  # an operation of autograd's graph


class Saved:
    """A tensor that an operation keeps for its backward pass."""

    def __init__(self, tensor: Tensor):
        self.tensor: Tensor | None = tensor.detach()


class _Unpacked:
    """Collects the saved tensors that the running operation reads."""

    def __init__(self) -> None:
        self.saved: list[Saved] = []

    def open(self, saved: Saved) -> Tensor:
        self.saved.append(saved)
        assert saved.tensor is not None
        return saved.tensor

    def release(self) -> None:
        for saved in self.saved:
            saved.tensor = None
        self.saved.clear()


_unpacked = _Unpacked()


@contextmanager
def releasable() -> Iterator[None]:
    """Let `backward` release the tensors that operations inside save."""
    with torch.autograd.graph.saved_tensors_hooks(Saved, _unpacked.open):
        yield


@torch.no_grad()
def backward(loss: Tensor, gradient: Tensor | None = None) -> None:
    """Give the parameters that `loss` depends on their gradients, as `loss.backward(gradient)` does.

    Args:
        gradient: of `loss`; None: 1.
    """
    root: Node = loss.grad_fn
    waiting, arrived, order = _dependencies(root), Arrived(), count()
    arrived.add(root, loss.output_nr, torch.ones_like(loss) if gradient is None else gradient)
    ready: list[tuple[int, int, Node]] = [(0, 0, root)]
    while ready:
        node = heapq.heappop(ready)[2]
        _run_and_hand_on(node, arrived)
        for after, _ in node.next_functions:
            if after is not None:
                waiting[after] -= 1
                if not waiting[after]:
                    heapq.heappush(ready, (_rank(after), next(order), after))


def backward_of_all(outputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """`torch.autograd.backward`, as gradient checkpointing calls it."""
    for output, gradient in zip(outputs, gradients, strict=True):
        backward(output, gradient)


class Arrived:
    """Gradients on their way: those of the outputs of operations that have not run yet."""

    def __init__(self) -> None:
        self._of: dict[Node, dict[int, Tensor]] = {}

    def add(self, node: Node, place: int, value: Tensor) -> None:
        """Count `value` in with the gradient of the output at `place`."""
        outputs = self._of.setdefault(node, {})
        outputs[place] = outputs[place] + value if place in outputs else value

    def take(self, node: Node) -> list[Tensor | None]:
        """The gradients of all outputs of `node`."""
        outputs = self._of.pop(node, {})
        return [outputs.get(place) for place in range(max(1, len(node._input_metadata)))]


def _run_and_hand_on(node: Node, arrived: Arrived) -> None:
    for (after, place), value in zip(node.next_functions, _run(node, arrived.take(node)), strict=False):
        if after is not None and value is not None:
            arrived.add(after, place, _fitting(value, after._input_metadata[place]))


def _fitting(gradient: Tensor, of: Any) -> Tensor:
    """A gradient in the shape and the type of what it belongs to: broadcasting and autocast change both on the way forth."""
    fitting = gradient if gradient.shape == of.shape else gradient.sum_to_size(of.shape)
    return fitting.to(of.dtype)


def _dependencies(root: Node) -> dict[Node, int]:
    """Count, for each operation of the graph, the operations that give it a gradient."""
    waiting: dict[Node, int] = {}
    ahead, seen = [root], {root}
    while ahead:
        for node, _ in ahead.pop().next_functions:
            if node is None:
                continue
            waiting[node] = waiting.get(node, 0) + 1
            if node not in seen:
                seen.add(node)
                ahead.append(node)
    return waiting


def _rank(node: Node) -> int:
    """The least first: parameters, then what was recorded last."""
    return -(2**62) if hasattr(node, "variable") else -int(node._sequence_nr())


def _run(node: Node, gradients: list[Tensor | None]) -> tuple[Tensor | None, ...]:
    """The gradients of an operation's inputs from those of its outputs; a parameter keeps its own."""
    if all(gradient is None for gradient in gradients):
        return (None,) * len(node.next_functions)
    if hasattr(node, "variable"):
        _accumulate(node.variable, gradients[0])
        return ()
    if isinstance(node, torch.autograd.function.BackwardCFunction):
        metadata: Any = node._input_metadata  # type: ignore[attr-defined]
        zeros = (torch.zeros(part.shape, dtype=part.dtype, device=part.device) for part in metadata)
        outputs = node.apply(*(zero if one is None else one for one, zero in zip(gradients, zeros, strict=True)))
    else:
        outputs = node(*gradients)
    _unpacked.release()
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _accumulate(parameter: Tensor, gradient: Tensor | None) -> None:
    assert gradient is not None
    if parameter.grad is None:
        parameter.grad = gradient
    else:
        parameter.grad += gradient
