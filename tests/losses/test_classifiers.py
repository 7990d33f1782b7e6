"""Sub-centre AAM and SphereFace2 against what they are when written out, and against plain AAM."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.special import expit

from selfsv.losses.aam import AamClassifier, aam_loss
from selfsv.losses.classifiers import classifier_of, fresh_classifier, knowing_classifier
from selfsv.losses.sphereface2 import SphereFace2Classifier, balanced_bias, spread
from selfsv.losses.sub_centre import SubCentreClassifier
from selfsv.settings.section import validated
from selfsv.settings.train import AamTraining

SCALE, MARGIN = 32.0, 0.2


def settings(**classifier) -> AamTraining:
    return validated(AamTraining, {"classifier": classifier})


def test_one_centre_is_plain_aam_bit_for_bit():
    plain, single = (fresh_classifier(settings(kind=kind, centres=1), 6, 4, 1, 2) for kind in ("aam", "sub_centre"))
    embeddings, labels = torch.randn(5, 6), torch.tensor([0, 1, 2, 3, 0])
    assert torch.equal(plain(embeddings), single(embeddings))
    assert torch.equal(plain.losses(plain(embeddings), labels, SCALE, MARGIN), single.losses(single(embeddings), labels, SCALE, MARGIN))


def test_a_class_is_as_near_as_its_nearest_centre():
    torch.manual_seed(0)
    classifier, embeddings = SubCentreClassifier(6, 4, 3), torch.randn(5, 6)
    centres = classifier.weight.view(4, 3, 6)
    expected = [[max(F.cosine_similarity(one, centre, dim=0) for centre in own) for own in centres] for one in embeddings]
    torch.testing.assert_close(classifier(embeddings), torch.stack([torch.stack(row) for row in expected]))


def test_centres_that_begin_with_one_mean_are_not_alike():
    means = F.normalize(torch.randn(4, 6), dim=1)
    classifier = knowing_classifier(settings(kind="sub_centre"), means, 1, 1)
    centres = F.normalize(classifier.weight.view(4, 3, 6), dim=2)
    torch.testing.assert_close(centres[:, 0], means)
    cosines = (centres @ means.unsqueeze(2)).squeeze(2)
    assert (cosines > 0.99).all() and (cosines[:, 1:] < 1 - 1e-5).all()
    assert classifier(means).argmax(dim=1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["aam", "sphereface2"])
def test_a_classifier_can_begin_with_the_classes_means(kind):
    means = torch.randn(4, 6)
    assert torch.equal(knowing_classifier(settings(kind=kind), means, 1, 1).weight, means)


def test_sphereface2_is_a_sum_of_binary_decisions():
    """Each class's is binary cross-entropy, that of the label weighted by lambda, the others' by 1 - lambda."""
    torch.manual_seed(0)
    classifier = SphereFace2Classifier(6, 5, balance=0.7, exponent=3.0, scale=SCALE, margin=MARGIN)
    cosines, labels = classifier(torch.randn(7, 6)), torch.randint(5, (7,))
    losses = classifier.losses(cosines, labels, SCALE, MARGIN)
    for cosine, label, loss in zip(cosines.double(), labels, losses, strict=True):
        expected = torch.zeros((), dtype=torch.float64)
        for j, value in enumerate(cosine):
            similarity = 2 * ((value + 1) / 2) ** 3 - 1
            own = j == label
            logit = SCALE * (similarity - (MARGIN if own else -MARGIN)) + classifier.bias.double() * 1.0
            target = torch.tensor(1.0 if own else 0.0, dtype=torch.float64)
            expected = expected + (0.7 if own else 0.3) * F.binary_cross_entropy_with_logits(logit, target)
        assert loss.item() == pytest.approx(float(expected.detach()), rel=1e-4)


def test_sphereface2_starts_with_both_sides_pulling_equally_hard():
    classes = 50
    bias = balanced_bias(classes, 0.7, 3.0, SCALE, MARGIN)
    at_zero = 2 * 0.5**3 - 1
    label = 0.7 * expit(torch.tensor(-(SCALE * (at_zero - MARGIN) + bias), dtype=torch.float64))
    others = 0.3 * (classes - 1) * expit(torch.tensor(SCALE * (at_zero + MARGIN) + bias, dtype=torch.float64))
    assert label.item() == pytest.approx(others.item(), rel=1e-9)
    assert math.isfinite(balanced_bias(1, 0.7, 3.0, SCALE, MARGIN))


def test_spread_keeps_the_ends():
    torch.testing.assert_close(spread(torch.tensor([-1.0, 0.0, 1.0]), 3.0), torch.tensor([-1.0, -0.75, 1.0]))


@pytest.mark.parametrize("kind", ["aam", "sub_centre", "sphereface2"])
def test_every_classifier_learns_a_batch(kind):
    """The loss of right labels falls below that of wrong ones, which is what the gate looks for."""
    torch.manual_seed(0)
    labels = torch.arange(40) % 8
    embeddings = F.normalize(torch.eye(12)[labels] + 0.2 * torch.randn(40, 12), dim=1)
    classifier = fresh_classifier(settings(kind=kind), 12, 8, 1, 1)
    optimiser = torch.optim.SGD(classifier.parameters(), lr=0.1, momentum=0.9)
    first = classifier.losses(classifier(embeddings), labels, SCALE, MARGIN).mean()
    for _ in range(100):
        optimiser.zero_grad()
        classifier.losses(classifier(embeddings), labels, SCALE, MARGIN).mean().backward()
        optimiser.step()
    cosines = classifier(embeddings)
    right, wrong = (classifier.losses(cosines, one, SCALE, MARGIN) for one in (labels, (labels + 1) % 8))
    assert right.mean() < 0.5 * first
    assert right.max() < wrong.min()
    assert (cosines.argmax(dim=1) == labels).all()


def test_aam_stays_the_default():
    classifier = classifier_of(AamTraining(), 6, 4)
    assert type(classifier) is AamClassifier
    cosines, labels = torch.rand(3, 4), torch.tensor([0, 1, 2])
    assert torch.equal(classifier.losses(cosines, labels, SCALE, MARGIN), aam_loss(cosines, labels, SCALE, MARGIN))
