"""Encoders that train by recorded passes. Without a GPU a stand-in keeps what a CUDA graph keeps: one set of inputs, outputs, gradients."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from selfsv.engine.graphs import MOST_SHAPES, WARM_UP, GraphedForward, replay, trained, without_graphs
from selfsv.engine.optimisation import reestimate


class StandIn:
    """Computes anew into tensors that the next pass overwrites, as a graph does."""

    made = 0
    pool: dict[torch.Size, list[Tensor]] = {}

    def __init__(self, module, inputs, pool):
        type(self).made += 1
        self._module, self._weights, self._inputs = module, trained(module), inputs.clone()
        self._kept = StandIn.pool.setdefault(inputs.shape[1:], [])  # one memory for all batch sizes

    def forward(self, inputs):
        self._inputs.copy_(inputs)
        with torch.enable_grad(), without_graphs():
            outputs = self._module(self._inputs)
        self._kept[:] = [outputs]
        return outputs.detach().clone()

    def backward(self, upstream):
        return [gradient.clone() for gradient in torch.autograd.grad(self._kept[0], self._weights, upstream)]


class Failing(StandIn):
    def __init__(self, *_):
        raise RuntimeError("operation not permitted when stream is capturing")


def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 3))


@pytest.fixture
def both(monkeypatch):
    """A plain encoder, and its copy that trains by recordings."""
    monkeypatch.setattr(StandIn, "made", 0)
    monkeypatch.setattr(StandIn, "pool", {})
    plain = encoder()
    graphed = deepcopy(plain)
    graphed.forward = GraphedForward(graphed, StandIn)
    return plain, graphed


def gradients(model: nn.Module, losses: list[Tensor]) -> list[Tensor]:
    model.zero_grad()
    torch.stack(losses).sum().backward()
    return [weight.grad.clone() for weight in model.parameters()]


def same(one: nn.Module, two: nn.Module, passes) -> None:
    """Losses of both by `passes`, their gradients, and their running statistics."""
    for ours, theirs in zip(gradients(one, passes(one)), gradients(two, passes(two)), strict=True):
        torch.testing.assert_close(ours, theirs)
    for (name, ours), theirs in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_steps_are_those_of_the_plain_encoder(both):
    """Long and short crops in turn, whose batches differ by one, and a pass without gradients."""
    generator = torch.Generator().manual_seed(1)
    for step in range(4 * WARM_UP):
        long, short = (torch.randn(size, 6, generator=generator) for size in (16 + step % 2, 9 + step % 2))

        def passes(model, long=long, short=short):
            with torch.no_grad():
                target = model(long)
            return [(model(long) - target).square().sum() + model(long).sum(), model(short).square().sum()]

        same(*both, passes)
    assert StandIn.made == 6


@pytest.mark.parametrize("sizes", [(8, 8), (8, 5)])
def test_two_passes_at_once_do_not_share_memory(both, sizes):
    """Of one shape, and of two batch sizes, whose recordings have their memory from one pool."""
    first, second = (torch.randn(size, 6) for size in sizes)
    for _ in range(WARM_UP + 2):
        same(*both, lambda model: [model(first).square().sum(), model(second).exp().sum()])
    assert StandIn.made == len(set(sizes))


def test_a_pass_whose_gradients_are_never_asked_for_does_not_hold_its_recording(both):
    inputs = torch.randn(8, 6)
    for _ in range(WARM_UP + 3):
        both[1](inputs)
    recording = next(iter(both[1].forward._recordings.values()))
    before = recording._kept[0]
    both[1](inputs)
    assert recording._kept[0] is not before


def test_gradients_of_several_batches_add_up(both):
    batches = torch.randn(3, 8, 6)
    for _ in range(WARM_UP + 1):
        for model in both:
            model.zero_grad()
            for batch in batches:
                model(batch).square().sum().backward()
    for one, two in zip(*(model.parameters() for model in both), strict=True):
        torch.testing.assert_close(one.grad, two.grad)


def test_evaluation_and_the_end_of_a_training_are_not_recorded(both):
    plain, graphed = both
    inputs = [torch.randn(8, 6) for _ in range(2 * WARM_UP)]
    reestimate(plain, inputs), reestimate(graphed, inputs)
    torch.testing.assert_close(plain.state_dict(), graphed.state_dict())
    with without_graphs():
        for one in inputs:
            graphed(one)
    graphed.eval()
    for one in inputs:
        graphed(one)
    assert StandIn.made == 0


def test_ever_new_shapes_are_not_recorded(both):
    for size in range(2, 2 + 2 * MOST_SHAPES):
        for _ in range(WARM_UP + 1):
            both[1](torch.randn(size, 6))
    assert StandIn.made == MOST_SHAPES


def test_where_recording_fails_the_training_goes_on(caplog):
    plain = encoder()
    graphed = deepcopy(plain)
    graphed.forward = GraphedForward(graphed, Failing)
    for _ in range(WARM_UP + 2):
        inputs = torch.randn(8, 6)
        same(plain, graphed, lambda model, inputs=inputs: [model(inputs).square().sum()])
    assert caplog.text.count("not permitted") == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_on_a_gpu_weights_move_as_without_graphs(precision):
    plain = encoder().cuda()
    graphed = deepcopy(plain)
    replay(graphed)
    for _ in range(3 * WARM_UP):
        inputs = torch.randn(8, 6, device="cuda")
        for model in (plain, graphed):
            model.zero_grad()
            with torch.autocast("cuda", precision, enabled=precision is not torch.float32):
                loss = model(inputs).float().square().sum()
            loss.backward()
            with torch.no_grad():
                for weight in model.parameters():
                    weight -= 0.01 * weight.grad
    torch.testing.assert_close(plain.state_dict(), graphed.state_dict())
