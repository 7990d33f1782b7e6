"""The teacher's update against Eq. 4, number by number, and averages of weights."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from selfsv.engine.optimisation import WeightAverage, cosine, reestimate
from selfsv.methods.objective import update_teacher


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_teacher_follows_equation_4():
    teacher, student = network(0), network(1)
    expected = [parameter.tolist() for parameter in teacher.parameters()]
    for step in range(3):
        momentum = cosine(0.996, 1.0, step / 3)
        update_teacher(teacher, student, momentum)
        for old, new in zip(expected, student.parameters(), strict=True):
            blend(old, new.tolist(), momentum)
    for ours, literal in zip(teacher.parameters(), expected, strict=True):
        torch.testing.assert_close(ours.detach(), torch.tensor(literal))


def blend(old: list, new: list, momentum: float) -> None:
    """old = momentum * old + (1 - momentum) * new, in place."""
    for index, value in enumerate(new):
        if isinstance(value, list):
            blend(old[index], value, momentum)
        else:
            old[index] = momentum * old[index] + (1 - momentum) * value


def test_statistics_of_batchnorm_stay_the_teachers_own():
    teacher, student = network(0), network(1)
    student(torch.randn(8, 3) + 5)
    update_teacher(teacher, student, 0.0)
    assert torch.equal(teacher[1].running_mean, torch.zeros(4))


def test_momentum_schedule_runs_from_start_to_end():
    assert cosine(0.996, 1.0, 0.0) == pytest.approx(0.996)
    assert cosine(0.996, 1.0, 0.5) == pytest.approx(0.998)
    assert cosine(0.996, 1.0, 1.0) == 1.0


def test_average_is_the_mean_of_all_checkpoints():
    average, states = WeightAverage(), [network(seed).state_dict() for seed in range(4)]
    for count, state in enumerate(states):
        state["1.num_batches_tracked"] = torch.tensor(count)
        average.add(state)
    torch.testing.assert_close(average.mean["0.weight"], torch.stack([state["0.weight"] for state in states]).mean(dim=0))
    assert average.mean["1.num_batches_tracked"] == 3


def two_norms() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=0.3))


def test_statistics_are_the_means_over_the_batches():
    """By hand: the second layer's are of what comes out of the first, normalised batch by batch as in training."""
    network, batches = two_norms().eval(), [torch.randn(8, 3) * 2 + 5, torch.randn(6, 3) - 1]
    network[2].running_mean.fill_(7.0)  # what was there is forgotten
    normalised = [(batch - batch.mean(0)) / (batch.var(0, correction=0) + 1e-5).sqrt() for batch in batches]
    inner = [batch @ network[1].weight.T + network[1].bias for batch in normalised]
    reestimate(network, batches)
    for norm, seen in ((network[0], batches), (network[2], inner)):
        torch.testing.assert_close(norm.running_mean, torch.stack([batch.mean(0) for batch in seen]).mean(0).detach())
        torch.testing.assert_close(norm.running_var, torch.stack([batch.var(0) for batch in seen]).mean(0).detach())
    assert network[2].momentum == 0.3 and not network.training


def test_statistics_of_a_compiled_network_are_those_of_the_plain_one():
    plain, batches = two_norms(), [torch.randn(8, 3) * 2 + 5, torch.randn(6, 3) - 1]
    compiled = deepcopy(plain)
    graphs = CompileCounterWithBackend("eager")
    compiled.forward = torch.compile(compiled.forward, dynamic=False, backend=graphs)
    for network in (plain, compiled):
        reestimate(network, batches)
    torch.testing.assert_close(compiled.state_dict(), plain.state_dict())
    assert graphs.frame_count == 0
