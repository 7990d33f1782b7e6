"""Contrastive losses against sums written out in plain numbers, closed forms, and themselves in parts."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from selfsv.losses.augmentation_adversary import AugmentationAdversary
from selfsv.losses.contrastive import angular_contrastive, angular_prototypical, channel_invariance, nt_xent, retrieved, uniformity
from selfsv.losses.momentum_contrast import EMPTY, momentum_contrast

VIEWS, BATCH, DIMENSIONS = 2, 7, 5
T = 0.2


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def log_loss(positive: float, all_of_them: list[float]) -> float:
    return -math.log(math.exp(positive) / sum(map(math.exp, all_of_them)))


@pytest.fixture
def views() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return F.normalize(torch.randn(VIEWS, BATCH, DIMENSIONS, generator=generator, dtype=torch.float64), dim=-1)


# NT-Xent --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [0.0, 0.15])
def test_nt_xent_is_its_equation(views, margin):
    rows, terms = views.flatten(0, 1).tolist(), []
    for i, row in enumerate(rows):
        partner = (i + BATCH) % (2 * BATCH)
        positive = (dot(row, rows[partner]) - margin) / T
        negatives = [dot(row, other) / T for k, other in enumerate(rows) if k not in (i, partner)]
        terms.append(log_loss(positive, [positive, *negatives]))
    assert nt_xent(views, views, 0, T, margin).item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)


def test_nt_xent_of_a_lone_utterance_is_zero():
    lone = F.normalize(torch.randn(2, 1, 4), dim=-1)
    assert nt_xent(lone, lone, 0, T).item() == pytest.approx(0.0, abs=1e-6)


def test_nt_xent_of_orthogonal_utterances_with_like_views():
    """The positive's cosine is 1, those of the 2 B - 2 negatives are 0."""
    alike = torch.eye(BATCH).expand(2, -1, -1)
    assert nt_xent(alike, alike, 0, T).item() == pytest.approx(math.log(1 + (2 * BATCH - 2) * math.exp(-1 / T)), rel=1e-5)


# Angular losses -------------------------------------------------------------------------------------------------------


def test_angular_prototypical_is_the_cross_entropy_of_scaled_cosines_whatever_the_bias(views):
    scale, bias, terms = 10.0, -5.0, []
    anchors, positives = views.tolist()
    for i, anchor in enumerate(anchors):
        scores = [scale * dot(anchor, positive) + bias for positive in positives]
        terms.append(log_loss(scores[i], scores))
    found = angular_prototypical(views[0], views[1], 0, torch.tensor(scale, dtype=torch.float64))
    assert found.item() == pytest.approx(sum(terms) / BATCH, rel=1e-12)


def test_angular_contrastive_goes_both_ways(views):
    scale = torch.tensor(10.0, dtype=torch.float64)
    there, back = angular_prototypical(views[0], views[1], 0, scale), angular_prototypical(views[1], views[0], 0, scale)
    assert angular_contrastive(views, views, 0, scale).item() == pytest.approx((there + back).item() / 2, rel=1e-12)
    assert there.item() != pytest.approx(back.item(), rel=1e-3)


def test_a_scale_below_zero_counts_as_none(views):
    loss = angular_prototypical(views[0], views[1], 0, torch.tensor(-3.0, dtype=torch.float64))
    assert loss.item() == pytest.approx(math.log(BATCH), rel=1e-4)


# Uniformity -----------------------------------------------------------------------------------------------------------


def test_uniformity_is_a_mean_over_pairs(views):
    expected = []
    for view in views.tolist():
        pairs = [math.exp(-2 * math.dist(a, b) ** 2) for i, a in enumerate(view) for b in view[i + 1 :]]
        expected.append(math.log(sum(pairs) / len(pairs)))
    assert uniformity(views).item() == pytest.approx(sum(expected) / VIEWS, rel=1e-12)


def test_uniformity_of_known_arrangements():
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])[None]
    assert uniformity(opposite, 3.0).item() == pytest.approx(-3.0 * 4)
    corners = F.normalize(torch.eye(4) - 1 / 4, dim=1)[None]  # of a regular simplex: all cosines are -1/3
    assert uniformity(corners).item() == pytest.approx(-2 * (2 + 2 / 3), rel=1e-5)
    assert uniformity(opposite[:, :1]).item() == 0.0


# Channel invariance and the adversary ---------------------------------------------------------------------------------


def test_channel_invariance_is_a_squared_distance(views):
    expected = sum(math.dist(a, b) ** 2 for a, b in zip(*views.tolist(), strict=True)) / BATCH
    assert channel_invariance(views[0], views[1]).item() == pytest.approx(expected, rel=1e-12)


def adversary_and_embeddings() -> tuple[AugmentationAdversary, Tensor]:
    torch.manual_seed(0)
    return AugmentationAdversary(DIMENSIONS, 16), torch.randn(3, 8, DIMENSIONS, requires_grad=True)


def test_the_adversary_is_the_cross_entropy_of_its_guesses():
    adversary, embeddings = adversary_and_embeddings()
    one, alike, unlike = embeddings
    inputs = torch.stack([torch.cat(pair) for other in (alike, unlike) for pair in zip(one, other, strict=True)])
    logits = adversary.layers(inputs)
    terms = [log_loss(row[answer], row) for row, answer in zip(logits.tolist(), [1] * 8 + [0] * 8, strict=True)]
    assert adversary(*embeddings).item() == pytest.approx(sum(terms) / 16, rel=1e-5)


def test_the_adversary_learns_what_the_embeddings_unlearn():
    """The gradients of its own weights are plain, those of the embeddings are turned round."""
    adversary, embeddings = adversary_and_embeddings()
    adversary(*embeddings).backward()
    reversed_one, own = embeddings.grad.clone(), [parameter.grad.clone() for parameter in adversary.parameters()]
    embeddings.grad = None
    adversary.zero_grad()
    one, alike, unlike = embeddings
    pairs = torch.cat([torch.cat([one, alike], dim=1), torch.cat([one, unlike], dim=1)])
    F.cross_entropy(adversary.layers(pairs), torch.tensor([1] * 8 + [0] * 8)).backward()
    torch.testing.assert_close(reversed_one, -embeddings.grad)
    assert embeddings.grad.abs().max() > 1e-3
    torch.testing.assert_close(own, [parameter.grad for parameter in adversary.parameters()])


# Momentum contrast ----------------------------------------------------------------------------------------------------


def test_momentum_contrast_is_the_cross_entropy_against_the_queue_without_the_own_utterance(views):
    queries, keys = views
    generator = torch.Generator().manual_seed(1)
    queue = F.normalize(torch.randn(6, DIMENSIONS, generator=generator, dtype=torch.float64), dim=1)
    queued, utterances = [3, 9, EMPTY, 1, 3, 0], [3, 5, 1, 0, 9, 8, 2]
    terms = []
    for query, key, utterance in zip(queries.tolist(), keys.tolist(), utterances, strict=True):
        negatives = [dot(query, old) / T for old, whose in zip(queue.tolist(), queued, strict=True) if whose not in (EMPTY, utterance)]
        positive = dot(query, key) / T
        terms.append(log_loss(positive, [positive, *negatives]))
    loss, _ = momentum_contrast(queries, keys, queue, torch.tensor(utterances), torch.tensor(queued), T)
    assert loss.item() == pytest.approx(sum(terms) / BATCH, rel=1e-12)


def test_shares_of_what_is_found():
    """Of four utterances, the first two have like views and the others each other's."""
    one = torch.eye(4)
    other = one[[0, 1, 3, 2]]
    assert retrieved(torch.stack([one, other]), torch.stack([one, other]), 0).item() == 0.5
    queue, queued = torch.eye(4)[[2, 3]], torch.tensor([7, 7])
    _, found = momentum_contrast(one, other, queue, torch.arange(4), queued, T)
    assert found.item() == 0.5


# Parts ----------------------------------------------------------------------------------------------------------------

LOSSES: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "nt_xent": lambda views, whole, first: nt_xent(views, whole, first, T, 0.1),
    "angular_prototypical": lambda views, whole, first: angular_prototypical(views[0], whole[1], first, torch.tensor(10.0)),
    "angular_contrastive": lambda views, whole, first: angular_contrastive(views, whole, first, torch.tensor(10.0)),
    "retrieved": retrieved,
}


@pytest.mark.parametrize("name", LOSSES)
def test_parts_of_a_batch_add_up_to_it(name, views):
    loss = LOSSES[name]
    parts = [(views[:, :3], 0), (views[:, 3:], 3)]
    together = sum(part.shape[1] / BATCH * loss(part, views, first) for part, first in parts)
    assert float(together) == pytest.approx(loss(views, views, 0).item(), rel=1e-6)
