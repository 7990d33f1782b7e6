"""AAM-softmax against its closed form on angles."""

import math

import pytest
import torch
import torch.nn.functional as F

from selfsv.losses.aam import AamClassifier, aam_loss, class_means

SCALE, MARGIN = 32.0, 0.2


def closed_form(angles: list[float], label: int) -> float:
    """-log of e^{s cos(theta_y + m)} over its sum with the other e^{s cos theta_j} (Eq. 9), in float64."""
    exponents = [SCALE * math.cos(angle + (MARGIN if j == label else 0.0)) for j, angle in enumerate(angles)]
    top = max(exponents)
    return top + math.log(sum(math.exp(value - top) for value in exponents)) - exponents[label]


@pytest.mark.parametrize("label", [0, 1, 2])
def test_loss_is_the_closed_form(label):
    angles = [0.3, 1.2, 2.4]
    loss = aam_loss(torch.tensor([angles]).cos(), torch.tensor([label]), SCALE, MARGIN)
    assert loss.item() == pytest.approx(closed_form(angles, label), rel=1e-4)


def test_without_margin_it_is_cross_entropy_of_scaled_cosines():
    torch.manual_seed(0)
    cosines, labels = torch.rand(5, 7) * 2 - 1, torch.arange(5)
    torch.testing.assert_close(aam_loss(cosines, labels, SCALE, 0.0), F.cross_entropy(SCALE * cosines, labels, reduction="none"))


def test_loss_falls_as_the_angle_to_the_label_shrinks_over_the_whole_circle():
    angles = torch.linspace(0.001, math.pi - 0.001, 500, dtype=torch.float64)
    cosines = torch.stack([angles.cos(), torch.zeros_like(angles)], dim=1)
    loss = aam_loss(cosines, torch.zeros(500, dtype=torch.long), SCALE, MARGIN)
    assert (loss.diff() > -1e-9).all()


def test_gradient_is_finite_at_the_poles():
    cosines = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    aam_loss(cosines, torch.tensor([0, 0]), SCALE, MARGIN).sum().backward()
    assert cosines.grad is not None and cosines.grad.isfinite().all()


def test_classifier_outputs_cosines():
    torch.manual_seed(0)
    classifier, embeddings = AamClassifier(6, 4), torch.randn(3, 6)
    expected = F.cosine_similarity(embeddings.unsqueeze(1), classifier.weight.unsqueeze(0), dim=2)
    torch.testing.assert_close(classifier(embeddings), expected)


def test_class_means_are_those_of_unit_vectors():
    embeddings = torch.tensor([[3.0, 4.0], [0.0, 2.0], [5.0, 0.0]])
    means = class_means(embeddings, torch.tensor([1, 1, 0]), 2)
    torch.testing.assert_close(means, torch.tensor([[1.0, 0.0], [0.3, 0.9]]))
