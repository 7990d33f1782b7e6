"""DLG-LC against a loop over the batch that follows Algorithm 1 line by line."""

import math

import pytest
import torch
from torch import Tensor

from selfsv.losses.aam import aam_loss
from selfsv.losses.label_correction import CORRECTED, DROPPED, RELIABLE, Gate, decide, gated_loss

SCALE, MARGIN, CLASSES = 8.0, 0.2, 5
GATE = Gate(threshold=1.5, confidence=0.5, sharpening=0.1)


def algorithm_1(clean: Tensor, augmented: Tensor, label: int, gate: Gate) -> tuple[int, float]:
    """One utterance; `clean` and `augmented` are cosines [C]."""

    def softmax(values: list[float]) -> list[float]:
        top = max(values)
        exponentials = [math.exp(value - top) for value in values]
        return [value / sum(exponentials) for value in exponentials]

    def aam(cosines: list[float]) -> float:
        logits = [SCALE * (math.cos(math.acos(c) + MARGIN) if j == label else c) for j, c in enumerate(cosines)]
        return -math.log(softmax(logits)[label])

    l_clean, l_aug = aam(clean.tolist()), aam(augmented.tolist())
    if l_clean < gate.threshold:
        return RELIABLE, l_aug
    p_clean, p_aug = softmax([SCALE * c for c in clean.tolist()]), softmax([SCALE * c for c in augmented.tolist()])
    if max(p_clean) > gate.confidence:
        sharpened = softmax([SCALE * c / gate.sharpening for c in clean.tolist()])
        return CORRECTED, -sum(p * math.log(q) for p, q in zip(sharpened, p_aug, strict=True))
    return DROPPED, 0.0


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.rand(200, CLASSES) * 1.9 - 0.95, torch.rand(200, CLASSES) * 1.9 - 0.95, torch.randint(CLASSES, (200,))


def outcome(clean: Tensor, augmented: Tensor, labels: Tensor, gate: Gate) -> tuple[Tensor, Tensor]:
    decisions = decide(aam_loss(clean, labels, SCALE, MARGIN), clean, SCALE, gate)
    return decisions, gated_loss(decisions, aam_loss(augmented, labels, SCALE, MARGIN), clean, augmented, SCALE, gate)


def test_batch_equals_the_loop(batch):
    clean, augmented, labels = batch
    decisions, losses = outcome(clean, augmented, labels, GATE)
    expected = [algorithm_1(c, a, int(y), GATE) for c, a, y in zip(clean, augmented, labels, strict=True)]
    assert decisions.tolist() == [decision for decision, _ in expected]
    assert set(decisions.tolist()) == {RELIABLE, CORRECTED, DROPPED}
    torch.testing.assert_close(losses, torch.tensor([loss for _, loss in expected]), rtol=1e-4, atol=1e-5)


def test_confidence_is_tested_before_sharpening():
    """Sharpened, this prediction would be nearly certain; as it is, it falls short of tau_2."""
    clean = torch.tensor([[0.5, 0.4, 0.3, 0.2, 0.1]])
    assert torch.softmax(SCALE * clean, dim=1).max() < 0.6 < 0.9 < torch.softmax(SCALE * clean / 0.1, dim=1).max()
    strict = GATE._replace(threshold=0.0, confidence=0.6)
    assert outcome(clean, clean, torch.tensor([4]), strict)[0].item() == DROPPED


def test_correction_ignores_the_old_label(batch):
    """Two utterances that differ only in an unreliable pseudo label are corrected alike: no margin of the label is left."""
    clean, augmented, labels = batch
    closed = GATE._replace(threshold=-1.0)
    _, one = outcome(clean, augmented, labels, closed)
    _, other = outcome(clean, augmented, (labels + 1) % CLASSES, closed)
    torch.testing.assert_close(one, other)


def test_no_gradient_reaches_the_clean_branch(batch):
    clean, augmented, labels = batch
    clean, augmented = clean.requires_grad_(), augmented.requires_grad_()
    _, losses = outcome(clean, augmented, labels, GATE._replace(threshold=-1.0))
    losses.sum().backward()
    assert clean.grad is None
    assert augmented.grad is not None and augmented.grad.abs().sum() > 0


def test_modes_none_and_dlg_are_extreme_gates(batch):
    clean, augmented, labels = batch
    everything, losses = outcome(clean, augmented, labels, Gate(math.inf, 1.0, 0.1))
    assert (everything == RELIABLE).all()
    torch.testing.assert_close(losses, aam_loss(augmented, labels, SCALE, MARGIN))
    without_correction, _ = outcome(clean, augmented, labels, GATE._replace(confidence=1.0))
    assert set(without_correction.tolist()) == {RELIABLE, DROPPED}


def test_trust_weighs_each_label_and_leaves_the_rest_to_the_correction():
    torch.manual_seed(0)
    clean, augmented = torch.rand(3, 5), torch.rand(3, 5)
    labels, trust = torch.tensor([0, 1, 2]), torch.tensor([0.9, 0.2, 0.3])
    decisions = torch.tensor([RELIABLE, CORRECTED, DROPPED])
    gate = Gate(1.0, 0.5, 0.1)
    aam = aam_loss(augmented, labels, SCALE, MARGIN)
    found = gated_loss(decisions, aam, clean, augmented, SCALE, gate, trust)
    target = torch.softmax(SCALE * clean[1] / 0.1, dim=0)
    correction = -(target * torch.log_softmax(SCALE * augmented[1], dim=0)).sum()
    torch.testing.assert_close(found, torch.stack([0.9 * aam[0], 0.2 * aam[1] + 0.8 * correction, 0.3 * aam[2]]))
