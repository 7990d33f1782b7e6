"""A batch that goes through an encoder in parts: less memory, for the time of one more forward pass.

Activations are what fills a GPU. Here each part's are forgotten after its forward pass, and computed again when its gradients are due
(gradient checkpointing, Chen et al. 2016). The loss still sees the embeddings of the whole batch, as in GradCache (Gao et al. 2021): so its
negatives, centres and covariances are those of the whole batch, where an accumulation of losses over parts would have those of a part.
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from selfsv.engine.graphs import without_graphs
from selfsv.errors import InputError
from selfsv.settings.train import LEAST_BATCH
from selfsv.torch_internals import BatchNorm


def divide_forward(module: nn.Module, parts: int) -> None:
    """Let `module` take its inputs in parts, one after the other, wherever gradients are wanted.

    Gradients and outputs are those of the whole, but for BatchNorm: it normalises each part by itself, and its running statistics see as
    many batches as there are parts.

    Args:
        module: takes [B, ...], and perhaps lengths [B].
    """
    if parts == 1:
        return
    forward: Callable[..., Tensor] = module.forward

    def divided(inputs: Tensor, *lengths: Tensor) -> Tensor:
        if lengths or not torch.is_grad_enabled():
            return forward(inputs, *lengths)
        if len(inputs) < LEAST_BATCH * parts:
            raise InputError(f"encoder_parts is {parts}, but a process has {len(inputs)} inputs of a batch only: lower it")
        return torch.cat([_forgotten(module, forward, part) for part in inputs.tensor_split(parts)])

    module.forward = divided


def _forgotten(module: nn.Module, forward: Callable[..., Tensor], part: Tensor) -> Tensor:
    """`forward` of a part, whose activations are computed again in the backward pass. Nothing in an encoder is random.

    Each part runs back as soon as it has been computed again. torch's newer way (`use_reentrant=False`) waits for the engine to ask for
    each activation, which the backward pass of `selfsv plan` cannot.
    """

    def computed(part: Tensor, _: Tensor) -> Tensor:
        # A CUDA graph writes to the running statistics where they were when it was recorded.
        with without_graphs(), _StandingStill(module) if torch.is_grad_enabled() else nullcontext():  # the second time
            return forward(part)

    wanted = part.new_empty((), requires_grad=True)  # features have no gradient, and torch looks at what it is given
    return checkpoint(computed, part, wanted, use_reentrant=True, preserve_rng_state=False)


class _StandingStill:
    """BatchNorm's running statistics stay as they are inside: those of a part have followed it when it came first."""

    def __init__(self, module: nn.Module):
        self._norms = [norm for norm in module.modules() if isinstance(norm, BatchNorm)]

    def __enter__(self) -> None:
        self._own = [dict(norm.named_buffers(recurse=False)) for norm in self._norms]
        self._put([{name: buffer.clone() for name, buffer in buffers.items()} for buffers in self._own])

    def __exit__(self, *_: object) -> None:
        self._put(self._own)

    def _put(self, every: list[dict[str, Tensor]]) -> None:
        for norm, buffers in zip(self._norms, every, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
