"""Gradient clipping against DINO's published rule and torch's own."""

import pytest
import torch
from torch import nn

from selfsv.engine.optimisation import clip_each, clip_together

LARGEST = 3.0


def network() -> nn.Module:
    """Gradients of very unlike norms, and a parameter without any."""
    torch.manual_seed(0)
    parts = nn.ModuleList([nn.Linear(7, 5), nn.Linear(5, 3), nn.Linear(3, 2)])
    for scale, parameter in zip((9.0, 0.1, 2.0, 0.5), list(parts.parameters())[:4], strict=True):
        parameter.grad = scale * torch.randn_like(parameter)
    return parts


def gradients(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]


def test_each_gradient_is_limited_as_in_dino():
    """DINO's loop: the coefficient is clip / (norm + 1e-6) for each parameter, applied where it is below 1."""
    module = network()
    before = gradients(module)
    clipped = clip_each(module.parameters(), LARGEST)
    for old, new in zip(before, gradients(module), strict=True):
        coefficient = LARGEST / (old.norm(2) + 1e-6)
        torch.testing.assert_close(new, old * coefficient if coefficient < 1 else old)
    assert float(clipped.norm) == pytest.approx(float(torch.cat([gradient.flatten() for gradient in before]).norm()))
    assert float(clipped.share) == pytest.approx(sum(float(gradient.norm()) > LARGEST for gradient in before) / len(before))
    assert 0 < float(clipped.share) < 1


def test_all_gradients_together_are_limited_as_by_torch():
    ours, theirs = network(), network()
    clipped = clip_together(ours.parameters(), LARGEST)
    norm = nn.utils.clip_grad_norm_(theirs.parameters(), LARGEST)
    for one, other in zip(gradients(ours), gradients(theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert float(clipped.norm) == pytest.approx(float(norm)) and float(clipped.share) == 1.0


@pytest.mark.parametrize("clip", [clip_each, clip_together])
def test_without_a_limit_gradients_stay_and_their_norm_is_told(clip):
    module = network()
    before = gradients(module)
    clipped = clip(module.parameters(), None)
    assert all(torch.equal(one, other) for one, other in zip(before, gradients(module), strict=True))
    assert float(clipped.norm) == pytest.approx(float(torch.cat([gradient.flatten() for gradient in before]).norm()))
    assert float(clipped.share) == 0.0
