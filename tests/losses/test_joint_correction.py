"""The joint decision against a loop that follows the paper's text (IV-C1), utterance by utterance."""

import math

import numpy as np
import pytest
import torch

from selfsv.losses.aam import aam_loss
from selfsv.losses.joint_correction import CleanOutputs, decide_jointly
from selfsv.losses.label_correction import AGREED, CORRECTED, DROPPED, RELIABLE, Gate, decide, gated_loss

SCALE, CLASSES, BATCH = 32.0, 6, 400
GATES = Gate(3.0, 0.5, 0.1), Gate(5.0, 0.5, 0.1)


def outputs(seed: int) -> tuple[CleanOutputs, CleanOutputs, torch.Tensor]:
    """Clean voice, clean face and labels of a batch in which every case occurs."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (BATCH,), generator=generator)
    shared = torch.randn(BATCH, CLASSES, generator=generator)
    cosines = [torch.tanh(0.1 * shared + 0.1 * torch.randn(BATCH, CLASSES, generator=generator)) for _ in range(2)]
    voice, face = (CleanOutputs(aam_loss(cosine, labels, SCALE, 0.2), cosine) for cosine in cosines)
    return voice, face, labels


def by_the_text(voice: CleanOutputs, face: CleanOutputs, labels: torch.Tensor, gates: tuple[Gate, Gate]) -> list[tuple[int, int, int]]:
    """Decision for the voice, decision for the face, and hard label of every utterance."""
    decided = []
    for index, label in enumerate(labels.tolist()):
        losses = voice.loss[index].item(), face.loss[index].item()
        cosines = voice.cosines[index].numpy().astype(np.float64), face.cosines[index].numpy().astype(np.float64)
        classes = int(cosines[0].argmax()), int(cosines[1].argmax())
        if losses[0] < gates[0].threshold and losses[1] < gates[1].threshold:
            decided.append((RELIABLE, RELIABLE, label))
        elif classes[0] == classes[1]:
            decided.append((AGREED, AGREED, classes[0]))
        else:
            single = []
            for cosine, gate in zip(cosines, gates, strict=True):
                exponentials = np.exp(SCALE * (cosine - cosine.max()))
                single.append(CORRECTED if (exponentials / exponentials.sum()).max() > gate.confidence else DROPPED)
            decided.append((single[0], single[1], label))
    return decided


@pytest.mark.parametrize("seed", range(4))
def test_decisions_are_those_of_the_text(seed):
    voice, face, labels = outputs(seed)
    joint = decide_jointly(voice, face, labels, SCALE, GATES, correct=True)
    found = list(zip(joint.voice.tolist(), joint.face.tolist(), joint.labels.tolist(), strict=True))
    expected = by_the_text(voice, face, labels, GATES)
    assert found == expected
    assert {decision for row in expected for decision in row[:2]} == {RELIABLE, AGREED, CORRECTED, DROPPED}


def test_without_a_gate_every_label_is_reliable():
    voice, face, labels = outputs(0)
    open_gates = tuple(gate._replace(threshold=math.inf) for gate in GATES)
    joint = decide_jointly(voice, face, labels, SCALE, open_gates, correct=True)
    assert (joint.voice == RELIABLE).all() and (joint.face == RELIABLE).all() and (joint.labels == labels).all()


def test_without_correction_nothing_is_agreed_on():
    voice, face, labels = outputs(0)
    strict = tuple(gate._replace(confidence=1.0) for gate in GATES)
    joint = decide_jointly(voice, face, labels, SCALE, strict, correct=False)
    both = (voice.loss < GATES[0].threshold) & (face.loss < GATES[1].threshold)
    assert ((joint.voice == RELIABLE) == both).all()
    assert set(joint.voice.tolist()) == set(joint.face.tolist()) == {RELIABLE, DROPPED}
    assert (joint.labels == labels).all()


def test_one_modality_in_doubt_is_enough_to_doubt_the_label():
    """Where the voice's own gate would have trusted it."""
    voice, face, labels = outputs(1)
    joint = decide_jointly(voice, face, labels, SCALE, GATES, correct=True)
    alone = decide(voice.loss, voice.cosines, SCALE, GATES[0])
    doubted = (alone == RELIABLE) & (face.loss >= GATES[1].threshold)
    assert doubted.any() and (joint.voice[doubted] != RELIABLE).all()


def test_agreed_labels_are_learnt_hard_with_the_margin():
    voice, face, labels = outputs(2)
    joint = decide_jointly(voice, face, labels, SCALE, GATES, correct=True)
    generator = torch.Generator().manual_seed(5)
    augmented = torch.tanh(0.1 * torch.randn(BATCH, CLASSES, generator=generator))
    losses = gated_loss(joint.voice, aam_loss(augmented, joint.labels, SCALE, 0.2), voice.cosines, augmented, SCALE, GATES[0])
    agreed = joint.voice == AGREED
    theta = torch.arccos(augmented[agreed].double())
    hard = joint.labels[agreed]
    logits = SCALE * torch.cos(theta + 0.2 * torch.nn.functional.one_hot(hard, CLASSES))
    expected = torch.nn.functional.cross_entropy(logits, hard, reduction="none")
    torch.testing.assert_close(losses[agreed].double(), expected, rtol=1e-4, atol=1e-4)
