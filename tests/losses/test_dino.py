"""The CA-DINO objective against literal transcriptions of the paper's equations."""

import math

import pytest
import torch
from torch import Tensor

from selfsv.losses.dino import cosine_consistency, dino_loss, entropy, teacher_probabilities, updated_centre

LONG, SHORT, BATCH, PROTOTYPES = 2, 4, 3, 11


def softmax(values: list[float]) -> list[float]:
    exponentials = [math.exp(value) for value in values]
    return [value / sum(exponentials) for value in exponentials]


def cross_entropy(target: list[float], output: list[float]) -> float:
    return -sum(p * math.log(q) for p, q in zip(target, output, strict=True))


@pytest.fixture
def logits() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(LONG, BATCH, PROTOTYPES), torch.randn(LONG + SHORT, BATCH, PROTOTYPES), torch.randn(PROTOTYPES)


def literal(teacher: Tensor, student: Tensor, centre: Tensor, pairs: list[tuple[int, int]]) -> float:
    """Mean of H(P_t(x) | P_s(x')) over pairs of views and the batch, one probability at a time (Eq. 2 and 3)."""
    terms = []
    for long, view in pairs:
        for item in range(BATCH):
            target = softmax([(value - shift) / 0.04 for value, shift in zip(teacher[long, item].tolist(), centre.tolist(), strict=True)])
            output = softmax([value / 0.1 for value in student[view, item].tolist()])
            terms.append(cross_entropy(target, output))
    return sum(terms) / len(terms)


def test_short_to_long_is_equation_2(logits):
    teacher, student, centre = logits
    pairs = [(long, LONG + short) for long in range(LONG) for short in range(SHORT)]
    assert len(pairs) == 8
    loss = dino_loss(student[LONG:], teacher_probabilities(teacher, centre, 0.04), 0.1, "short_to_long")
    assert loss.item() == pytest.approx(literal(teacher, student, centre, pairs), rel=1e-5)


def test_all_but_same_leaves_out_a_view_against_itself(logits):
    teacher, student, centre = logits
    pairs = [(long, view) for long in range(LONG) for view in range(LONG + SHORT) if long != view]
    assert len(pairs) == 10
    loss = dino_loss(student, teacher_probabilities(teacher, centre, 0.04), 0.1, "all_but_same")
    assert loss.item() == pytest.approx(literal(teacher, student, centre, pairs), rel=1e-5)


def test_loss_of_a_uniform_student_is_ln_k(logits):
    teacher, _, centre = logits
    loss = dino_loss(torch.zeros(SHORT, BATCH, PROTOTYPES), teacher_probabilities(teacher, centre, 0.04), 0.1, "short_to_long")
    assert loss.item() == pytest.approx(math.log(PROTOTYPES), rel=1e-6)


def test_cosine_consistency_is_equation_5_without_its_empty_terms():
    torch.manual_seed(0)
    embeddings = torch.randn(LONG + SHORT, BATCH, 5)
    terms = []
    for item in range(BATCH):
        for long in range(LONG):
            for view in range(LONG + SHORT):
                one, other = embeddings[long, item].tolist(), embeddings[view, item].tolist()
                product = sum(a * b for a, b in zip(one, other, strict=True))
                terms.append(1 - product / (math.hypot(*one) * math.hypot(*other)))
    literal_sum = sum(terms)
    pairs = BATCH * (LONG * (LONG + SHORT) - LONG)
    assert cosine_consistency(embeddings, LONG).item() == pytest.approx(literal_sum / pairs, rel=1e-5)


def test_centre_is_a_moving_average_of_the_batch_mean():
    torch.manual_seed(0)
    batches = [torch.randn(LONG, BATCH, PROTOTYPES) for _ in range(3)]
    centre = torch.zeros(PROTOTYPES)
    expected = [0.0] * PROTOTYPES
    for batch in batches:
        centre = updated_centre(centre, batch, 0.9)
        mean = batch.reshape(-1, PROTOTYPES).mean(dim=0).tolist()
        expected = [0.9 * old + 0.1 * new for old, new in zip(expected, mean, strict=True)]
    torch.testing.assert_close(centre, torch.tensor(expected))


def test_centring_undoes_a_preference_that_all_items_share(logits):
    teacher, _, _ = logits
    preference = 5 * torch.randn(PROTOTYPES)
    plain = teacher_probabilities(teacher, torch.zeros(PROTOTYPES), 0.04)
    torch.testing.assert_close(teacher_probabilities(teacher + preference, preference, 0.04), plain, atol=1e-5, rtol=1e-4)


def test_entropy_of_known_distributions():
    assert entropy(torch.full((2, 8), 1 / 8)).item() == pytest.approx(math.log(8))
    assert entropy(torch.eye(4)).item() == 0.0
