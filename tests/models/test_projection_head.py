"""The logits' precision: they are divided by small temperatures."""

import pytest
import torch
import torch.nn.functional as F

from selfsv.losses.dino import teacher_probabilities
from selfsv.models.projection_head import ProjectionHead
from selfsv.settings.pretrain import HeadSettings

ROWS, PROTOTYPES = 32, 2048


@pytest.fixture
def head() -> ProjectionHead:
    """A head some of whose prototypes have come close to what it projects, as they do in training: cosines up to 0.9."""
    torch.manual_seed(1)
    head = ProjectionHead(HeadSettings(hidden=64, bottleneck=256, prototypes=PROTOTYPES), 24)
    with torch.no_grad():
        projected = F.normalize(head.mlp(embeddings()), dim=1)[torch.arange(PROTOTYPES) % ROWS]
        closeness = 0.9 * torch.rand(PROTOTYPES, 1)
        elsewhere = F.normalize(torch.randn(PROTOTYPES, 256), dim=1)
        head.prototypes.weight.copy_(closeness * projected + (1 - closeness**2).sqrt() * elsewhere)
    return head


def embeddings() -> torch.Tensor:
    return torch.randn(ROWS, 24, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def test_bfloat16_leaves_the_teachers_probabilities_as_they_are(head):
    """The largest ones, which the student learns from, to one percent: with logits in bfloat16 they are 2 % off on average."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = head(embeddings())
    assert logits.dtype == torch.float32
    exact = head.double()(embeddings().double()).float()
    expected, places = teacher_probabilities(exact, torch.zeros(PROTOTYPES), 0.04).topk(5)
    assert expected.mean() > 0.05  # sharp, as a teacher's are
    errors = (teacher_probabilities(logits, torch.zeros(PROTOTYPES), 0.04).gather(1, places) / expected - 1).abs()
    assert errors.mean() < 0.01 and errors.max() < 0.03


def test_gradients_reach_the_mlp_and_the_prototypes_under_bfloat16(head):
    with torch.autocast("cpu", torch.bfloat16):
        loss = head(embeddings()).square().sum()
    loss.backward()
    found = {name: parameter.grad.clone() for name, parameter in head.named_parameters()}
    head.zero_grad()
    head(embeddings()).square().sum().backward()
    for name, parameter in head.named_parameters():
        assert F.cosine_similarity(found[name].flatten(), parameter.grad.flatten(), dim=0) > 0.99, name
