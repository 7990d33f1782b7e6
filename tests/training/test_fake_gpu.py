"""Memory that is followed on a GPU that is not there, beside torch's own engine, its saved tensors, and what an H200 has taken."""

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from selfsv.engine.fake_backward import backward, backward_of_all, releasable
from selfsv.engine.fake_gpu import GPU, Allocations, fake_gpu, has_kernels
from selfsv.engine.footprint import Machines
from selfsv.engine.parts import divide_forward
from selfsv.methods.footprints import footprints
from selfsv.models.encoders import untrained
from selfsv.models.resnet34 import ResNet34
from selfsv.settings.encoder import EncoderSettings
from selfsv.settings.experiment import merged, resolve
from selfsv.settings.reading import read_file
from tests.conftest import REPOSITORY

ENCODERS = {
    "ecapa_tdnn": EncoderSettings(channels=32, mfa_channels=48, bottleneck=8, embedding=12),
    "resnet34": EncoderSettings(architecture="resnet34", resnet34={"channels": 8}, embedding=12),
}
MELS, SHAPE = 40, (6, 90, 40)
encoder_by_name = pytest.mark.parametrize("name", ENCODERS)
in_parts = pytest.mark.parametrize("parts", [1, 3])


def loss_of(encoder: nn.Module, features: Tensor) -> Tensor:
    """Of two passes through one encoder, as CA-DINO's student has."""
    return encoder(features).square().mean() + encoder(features[:, ::2]).mean()


@encoder_by_name
@in_parts
def test_gradients_are_those_of_torchs_engine(name, parts, monkeypatch):
    encoder, features = untrained(ENCODERS[name], MELS, 1, 0), torch.randn(SHAPE)
    divide_forward(encoder, parts)
    loss_of(encoder, features).backward()
    expected = [parameter.grad for parameter in encoder.parameters()]
    encoder.zero_grad(set_to_none=True)
    monkeypatch.setattr(torch.autograd, "backward", backward_of_all)
    with releasable():
        backward(loss_of(encoder, features))
    for found, gradient in zip(encoder.parameters(), expected, strict=True):
        torch.testing.assert_close(found.grad, gradient)


@encoder_by_name
@in_parts
def test_memory_is_released_as_torchs_engine_releases_it(name, parts, monkeypatch):
    def taken(pass_back: Callable[[Tensor], None]) -> tuple[int, int]:
        with Allocations() as allocations:
            encoder, features = untrained(ENCODERS[name], MELS, 1, 0), torch.randn(SHAPE)
            divide_forward(encoder, parts)
            before = allocations.live
            loss = loss_of(encoder, features)
            pass_back(loss)
            return allocations.live - before, allocations.peak - before

    live, peak = taken(torch.Tensor.backward)
    monkeypatch.setattr(torch.autograd, "backward", backward_of_all)
    with releasable():
        found_live, found_peak = taken(backward)
    assert live < 0.2 * peak  # something was released
    assert found_live == pytest.approx(live, rel=0.01)
    assert found_peak == pytest.approx(peak, rel=0.02)


@encoder_by_name
def test_activations_are_the_tensors_that_torch_saves(name):
    encoder, features = untrained(ENCODERS[name], MELS, 1, 0), torch.randn(SHAPE)
    own = {tensor.untyped_storage().data_ptr() for tensor in (*encoder.parameters(), *encoder.buffers(), features)}
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        kept = encoder(features)  # what it is made of is kept alive by it: no address is used twice
    expected = sum(size for place, size in saved.items() if place not in own)
    with fake_gpu() as gpu:
        there = untrained(ENCODERS[name], MELS, 1, 0).to(GPU)
        inputs = torch.zeros(SHAPE, device=GPU)
        before = gpu.live
        outputs = there(inputs)
        assert gpu.live - before == pytest.approx(expected, rel=0.03)
        assert outputs.shape == kept.shape
        del outputs
        assert gpu.live == before


def test_autocast_halves_what_convolutions_keep():
    def kept(enabled: bool) -> int:
        with fake_gpu() as gpu, torch.autocast("cuda", torch.bfloat16, enabled=enabled):
            encoder = ResNet34(ENCODERS["resnet34"], MELS).to(GPU)
            before = gpu.live
            outputs = encoder(torch.zeros(SHAPE, device=GPU))
            assert outputs.requires_grad
            return gpu.live - before

    assert kept(True) < 0.7 * kept(False)


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")  # torch's own, where it sets what autograd keeps
@pytest.mark.parametrize(("file", "kernels"), [("h200_eager", False), ("h200_kernels", True)])
def test_the_paper_s_sizes_take_what_an_h200_has_taken(file, kernels):
    """`peak_megabytes` of its allocator, with the banks of that measurement."""
    if kernels and not has_kernels():
        pytest.skip("Triton is not installed: our own kernels cannot be followed")
    measured = json.loads((REPOSITORY / "benchmarks" / "gpu" / f"{file}.json").read_text())
    sizes = measured["sizes"]
    changes = {
        "noise": {"minutes_per_kind": sizes["noise_minutes"]},
        "rirs": {"path": None, "simulated_rooms": sizes["rooms"]},
        "encoder": {name: sizes[name] for name in ("channels", "mfa_channels", "dilations")},
        "pretrain": {"head": {"prototypes": sizes["prototypes"]}, "batch_size": sizes["batch_size"]},
        "train": {"batch_size": sizes["batch_size"]},
    }
    experiment = resolve(merged(read_file(REPOSITORY / "config.yaml"), changes))
    found = {one.training: one for one in footprints(experiment, Machines(1, kernels=kernels), sizes["utterances"])}
    known = {name: stage["peak_megabytes"] for name, stage in measured["stages"].items() if name in found}
    assert "pretrain" in known
    for name, megabytes in known.items():
        assert found[name].memory == pytest.approx(1e6 * megabytes, rel=0.05), name
