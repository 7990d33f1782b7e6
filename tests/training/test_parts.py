"""A batch that goes through an encoder in parts: the gradients of the whole, with the memory of a part."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsv.engine.checkpoints import StateFile
from selfsv.engine.graphs import WARM_UP, GraphedForward
from selfsv.engine.loop import fit
from selfsv.engine.parts import divide_forward
from selfsv.engine.processes import Group
from selfsv.errors import InputError, TrainingError
from selfsv.losses.contrastive import nt_xent
from selfsv.models.encoders import untrained
from tests.models.small import SMALL
from tests.training.test_graphs import StandIn
from tests.training.test_group import together
from tests.training.workshop import ENCODER, Workshop, weights

FEATURES = torch.randn(8, 60, 80, generator=torch.Generator().manual_seed(0), dtype=torch.float64).cumsum(1)


@pytest.fixture
def in_double(monkeypatch) -> None:
    """In double precision nothing hides behind rounding."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


@pytest.fixture
def workshop(packed, banks, packed_faces) -> Workshop:
    return Workshop(packed, banks, packed_faces)


def of_whole_batch(embeddings: Tensor) -> Tensor:
    """A loss in which each embedding meets all others."""
    views = F.normalize(embeddings.unflatten(0, (2, -1)), dim=-1)
    return nt_xent(views, views, 0, 0.2)


def gradients(encoder: nn.Module) -> dict[str, Tensor]:
    encoder.zero_grad()
    of_whole_batch(encoder(FEATURES)).backward()
    return {name: parameter.grad for name, parameter in encoder.named_parameters()}


@pytest.mark.parametrize("architecture", SMALL)
def test_without_batchnorm_they_are_the_gradients_of_the_whole(architecture, in_double):
    whole = untrained(SMALL[architecture], 80, 1, 1).double().eval()  # BatchNorm takes its running statistics
    divided = deepcopy(whole)
    divide_forward(divided, 3)
    torch.testing.assert_close(gradients(divided), gradients(whole), rtol=1e-9, atol=1e-12)


def test_batchnorm_normalises_each_part_and_follows_it_once(in_double):
    """A plain loop over the parts, which keeps all activations, says the same."""
    plain = untrained(ENCODER, 80, 1, 1).double().train()
    divided = deepcopy(plain)
    divide_forward(divided, 2)
    found = gradients(divided)
    of_whole_batch(torch.cat([plain(part) for part in FEATURES.split(4)])).backward()
    expected = {name: parameter.grad for name, parameter in plain.named_parameters()}
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(divided.state_dict(), plain.state_dict(), rtol=0, atol=0)


def kept_for_gradients(encoder: nn.Module) -> int:
    """Bytes that a forward pass keeps."""
    kept = {}

    def count(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        outputs = encoder(FEATURES.float())
    assert outputs.requires_grad
    return sum(kept.values())


def test_inputs_are_kept_and_no_activations():
    encoder = untrained(ENCODER, 80, 1, 1).train()
    inputs = FEATURES.float().untyped_storage().nbytes()
    assert kept_for_gradients(encoder) > 10 * inputs
    divide_forward(encoder, 2)
    assert kept_for_gradients(encoder) <= inputs + 16


def test_one_part_and_inputs_without_gradients_are_taken_whole():
    encoder, seen = untrained(ENCODER, 80, 1, 1).train(), []
    original = encoder.forward
    encoder.forward = lambda inputs: seen.append(len(inputs)) or original(inputs)
    divide_forward(encoder, 1)
    encoder(FEATURES.float())
    divide_forward(encoder, 4)
    with torch.no_grad():
        encoder(FEATURES.float())
    encoder(FEATURES.float())
    assert seen == [8, 8, 2, 2, 2, 2]


def test_parts_of_one_input_are_refused():
    encoder = untrained(ENCODER, 80, 1, 1).train()
    divide_forward(encoder, 5)
    with pytest.raises(InputError, match="encoder_parts is 5, but a process has 8 inputs"):
        encoder(FEATURES.float())


@pytest.mark.parametrize("name", ["pretraining", "gated", "tuning"])
def test_trainings_take_their_batches_in_parts(name, workshop, tmp_path):
    """And the first loss, before an update, is near that of whole batches: the rest is BatchNorm's."""
    firsts = []
    for parts in (1, 2):
        method = getattr(workshop, name)(encoder_parts=parts, epochs=3, batch_size=len(workshop.corpus))
        firsts.append(workshop.trained(method, tmp_path / str(parts))[0]["loss"])
    assert firsts[0] != firsts[1] and firsts[1] == pytest.approx(firsts[0], rel=0.25)


@pytest.mark.slow
def test_processes_take_their_parts_together(packed, banks, packed_faces, tmp_path):
    """BatchNorm's sums meet in the second computation, too; both processes end with the same weights."""

    def work(group: Group) -> dict[str, Tensor]:
        workshop = Workshop(packed, banks, packed_faces, group)
        method = workshop.pretraining(encoder_parts=2)
        workshop.trained(method, tmp_path / "state")
        return dict(weights(method))

    one, other = together(work, tmp_path / "group")
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_memory_that_does_not_suffice_is_one_error_that_says_what_to_lower(workshop, tmp_path):
    method, state = workshop.tuning(), StateFile(tmp_path, "test", "key")

    def too_much(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has a total capacity …")

    method.step = too_much
    with pytest.raises(TrainingError) as first:
        fit(method, len(workshop.corpus), workshop.runtime(), state)
    said = str(first.value)
    assert all(words in said for words in ("batches of 8 utterances", "`encoder_parts`", "`batch_size`", "Tried to allocate 20.00 GiB"))
    assert "\n" not in said
    with pytest.raises(TrainingError, match="not tried again"):  # a retry would fail as well
        fit(workshop.tuning(), len(workshop.corpus), workshop.runtime(), state, attempt=2)


def test_parts_are_not_recorded_as_graphs(monkeypatch):
    """A CUDA graph would move the running statistics the second time, too; passes without gradients are recorded as ever."""
    monkeypatch.setattr(StandIn, "made", 0)
    encoder = untrained(ENCODER, 80, 1, 1).train()
    encoder.forward = GraphedForward(encoder, StandIn)
    divide_forward(encoder, 2)
    for _ in range(WARM_UP + 1):
        encoder(FEATURES.float()).sum().backward()
    assert not StandIn.made
    with torch.no_grad():
        for _ in range(WARM_UP + 1):
            encoder(FEATURES.float())
    assert StandIn.made == 1
