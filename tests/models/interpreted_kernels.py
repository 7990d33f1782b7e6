"""ECAPA-TDNN's kernels for GPUs, interpreted on the CPU, beside torch's layers. `test_fused.py` runs this with TRITON_INTERPRET=1."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsv.data.features import LogMel
from selfsv.data.fused_features import fuse_features
from selfsv.engine.optimisation import reestimate
from selfsv.models.ecapa import SMALLEST_VARIANCE, Res2Layer, SqueezeExcitation, statistics
from selfsv.models.encoders import untrained
from selfsv.models.fused import fuse
from selfsv.models.fused_excitation import excited
from selfsv.models.fused_norm import relu_norm
from selfsv.models.fused_pooling import attentive_statistics, rectified_statistics
from selfsv.models.fused_res2 import res2
from selfsv.models.synchronised import synchronise
from selfsv.settings.audio import FeatureSettings
from selfsv.settings.encoder import EncoderSettings

ENCODER = EncoderSettings(channels=64, mfa_channels=96, bottleneck=16, embedding=12, embedding_batchnorm=False)
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's, about what masks then leave out


def leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_()


def off(found: Tensor, expected: Tensor) -> float:
    return float((found.detach().float() - expected.detach().float()).norm() / expected.detach().float().norm())


@pytest.mark.parametrize(("rows", "columns", "apart"), [(100, 64, 1), (333, 80, 1), (5, 24, 1), (3000, 32, 100)])
def test_relu_and_norm_are_torchs(rows, columns, apart):
    """Also where means are a hundred times the deviations, and where the gradient comes from a part of a wider tensor."""
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(columns)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    frames, bias = leaf(0.3 * torch.randn(rows, columns) + torch.linspace(-1, apart, columns)), leaf(torch.randn(columns))
    ours, other, moved = deepcopy(norm), leaf(frames), leaf(bias)
    expected, found = norm(F.relu(frames + bias)), relu_norm(other, moved, ours)
    upstream = torch.randn(rows, 3 * columns)[:, columns : 2 * columns]
    expected.backward(upstream), found.backward(upstream)
    assert off(found, expected) < 1e-4
    gradients = [(other.grad, frames.grad), (moved.grad, bias.grad), (ours.weight.grad, norm.weight.grad), (ours.bias.grad, norm.bias.grad)]
    assert max(off(one, two) for one, two in gradients) < 1e-3
    for name, buffer in norm.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), buffer)


@pytest.mark.parametrize(("batch", "length", "columns"), [(3, 45, 80), (2, 16, 64), (4, 7, 20)])
def test_statistics_are_those_of_torch(batch, length, columns):
    torch.manual_seed(0)
    frames, bias = leaf(torch.randn(batch, length, columns) - torch.linspace(-3, 3, columns)), leaf(torch.randn(columns))
    other, moved = leaf(frames), leaf(bias)
    rectified = F.relu(frames + bias)
    expected, found = (rectified, statistics(rectified, None)), rectified_statistics(other, moved, SMALLEST_VARIANCE)
    upstream = [torch.randn_like(part) for part in expected]
    torch.autograd.backward(expected, upstream), torch.autograd.backward(found, upstream)
    for one, two in [*zip(found, expected, strict=True), (other.grad, frames.grad), (moved.grad, bias.grad)]:
        assert off(one, two) < 1e-5


@pytest.mark.parametrize(("batch", "length", "columns"), [(3, 45, 80), (2, 16, 64), (4, 7, 20)])
def test_attention_is_torchs(batch, length, columns):
    torch.manual_seed(0)
    scores, frames = leaf(3 * torch.randn(batch, length, columns)), leaf(F.relu(torch.randn(batch, length, columns)))
    others = leaf(scores), leaf(frames)
    expected, found = statistics(frames, torch.softmax(scores, dim=1)), attentive_statistics(*others, SMALLEST_VARIANCE)
    upstream = torch.randn_like(expected)
    expected.backward(upstream), found.backward(upstream)
    for one, two in [(found, expected), (others[0].grad, scores.grad), (others[1].grad, frames.grad)]:
        assert off(one, two) < 1e-5


def test_a_channel_that_never_changes_has_no_gradient_of_its_deviation():
    frames, scores = leaf(torch.ones(2, 20, 8)), leaf(torch.randn(2, 20, 8))
    found = attentive_statistics(scores, frames, SMALLEST_VARIANCE)
    torch.testing.assert_close(found[:, 8:], torch.full((2, 8), SMALLEST_VARIANCE**0.5))
    found[:, 8:].sum().backward()
    assert not scores.grad.any() and not frames.grad.any()


def test_the_fused_encoder_trains_as_the_plain_one():
    torch.manual_seed(0)
    plain = untrained(ENCODER, 80, 1, 0)
    fused = deepcopy(plain)
    fuse(fused)
    for _ in range(2):
        features, upstream = torch.randn(4, 40, 80), torch.randn(4, 12)
        for model in (plain, fused):
            model.zero_grad()
        expected, found = plain(features), fused(features)
        expected.backward(upstream), found.backward(upstream)
        assert off(found, expected) < 1e-4
        for (name, one), two in zip(fused.named_parameters(), plain.parameters(), strict=True):
            # The attention's bias moves all scores alike: its gradient is rounding.
            assert "attend.bias" in name or two.grad is None or off(one.grad, two.grad) < 1e-3, name
    assert fused.state_dict().keys() == plain.state_dict().keys()
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(fused.get_buffer(name), buffer, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("lengths", [None, (50, 31, 20), (50, 50, 17)])
def test_in_evaluation_it_computes_the_same(lengths):
    torch.manual_seed(0)
    plain = untrained(ENCODER, 80, 1, 0)
    for _ in range(3):
        plain(torch.randn(4, 60, 80) + 1)
    fused = deepcopy(plain).eval()
    fuse(fused)
    features, lengths = torch.randn(3, 50, 80), None if lengths is None else torch.tensor(lengths)
    with torch.inference_mode():
        assert off(fused(features, lengths), plain.eval()(features, lengths)) < 1e-5


def test_statistics_that_are_estimated_anew_are_the_plain_ones():
    torch.manual_seed(0)
    plain, batches = untrained(ENCODER, 80, 1, 0), torch.randn(3, 4, 40, 80)
    fused = deepcopy(plain)
    fuse(fused)
    reestimate(plain, batches), reestimate(fused, batches)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(fused.get_buffer(name), buffer, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("wide", [False, True])
def test_excitation_is_torchs(wide):
    """Also where the gradient comes from a part of a wider tensor, and no frame is like another."""
    torch.manual_seed(0)
    plain = SqueezeExcitation(72, 16)
    fused, frames, inner = deepcopy(plain), leaf(torch.randn(3, 21, 72)), leaf(torch.randn(3, 21, 72))
    others = leaf(frames), leaf(inner)
    expected, found = frames + inner * plain(inner, None).unsqueeze(1), excited(*others, fused)
    upstream = torch.randn(3, 21, 144)[:, :, 72:] if wide else torch.randn(3, 21, 72)
    expected.backward(upstream), found.backward(upstream)
    pairs = [(found, expected), (others[0].grad, frames.grad), (others[1].grad, inner.grad)]
    pairs += [(one.grad, two.grad) for one, two in zip(fused.parameters(), plain.parameters(), strict=True)]
    assert max(off(*pair) for pair in pairs) < 1e-5


@pytest.mark.parametrize("dilation", [1, 3])
def test_res2_is_torchs(dilation):
    torch.manual_seed(0)
    plain = Res2Layer(64, dilation)
    for norm in plain.modules():
        if isinstance(norm, nn.BatchNorm1d):
            nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    fused, frames, upstream = deepcopy(plain), leaf(torch.randn(3, 21, 64)), torch.randn(3, 21, 128)[:, :, 64:]
    other = leaf(frames)
    expected, found = plain(frames, None), res2(fused, other)
    expected.backward(upstream), found.backward(upstream)
    pairs = [(found, expected), (other.grad, frames.grad)]
    pairs += [(one.grad, two.grad) for one, two in zip(fused.parameters(), plain.parameters(), strict=True)]
    assert max(off(*pair) for pair in pairs) < 1e-4
    torch.testing.assert_close(fused.state_dict(), plain.state_dict(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("channels", [8, 96])
def test_norms_of_images_are_torchs(channels):
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(channels)
    nn.init.normal_(plain.weight), nn.init.normal_(plain.bias)
    fused, images = deepcopy(plain), leaf((torch.randn(3, channels, 7, 5) + 3).contiguous(memory_format=torch.channels_last))
    fuse(fused)
    assert "forward" in vars(fused)
    other, upstream = images.detach().clone(memory_format=torch.preserve_format).requires_grad_(), torch.randn(3, channels, 7, 5)
    expected, found = plain(images), fused(other)
    assert found.is_contiguous(memory_format=torch.channels_last)
    expected.backward(upstream), found.backward(upstream)
    pairs = [(found, expected), (other.grad, images.grad)]
    pairs += [(one.grad, two.grad) for one, two in zip(fused.parameters(), plain.parameters(), strict=True)]
    assert max(off(*pair) for pair in pairs) < 1e-4
    torch.testing.assert_close(fused.state_dict(), plain.state_dict(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(fused.eval()(images), plain.eval()(images), atol=1e-4, rtol=1e-4)


def test_an_encoder_of_images_trains_as_the_plain_one():
    torch.manual_seed(0)
    plain = untrained(ENCODER.model_copy(update={"architecture": "fast_resnet34"}), 16, 1, 0).to(memory_format=torch.channels_last)
    fused = deepcopy(plain)
    fuse(fused)
    features, upstream = torch.randn(3, 24, 16), torch.randn(3, 12)
    expected, found = plain(features), fused(features)
    expected.backward(upstream), found.backward(upstream)
    assert off(found, expected) < 1e-3
    assert off(fused.stem.conv.weight.grad, plain.stem.conv.weight.grad) < 2e-2


@pytest.mark.parametrize("mel_bins", [24, 80])
def test_features_are_torchs(mel_bins):
    """Of speech-like noise, a tone beside silence, and waveforms whose last frame ends before they do."""
    torch.manual_seed(0)
    plain, fused = (LogMel(FeatureSettings(mel_bins=mel_bins)) for _ in range(2))
    fuse_features(fused)
    waves = torch.randn(4, 8123) * torch.linspace(0, 1, 8123)
    waves[1] = torch.sin(torch.arange(8123) * 0.3) * (torch.arange(8123) > 3000)
    waves[2] += 0.5
    torch.testing.assert_close(fused(waves), plain(waves), atol=2e-3, rtol=0)
    lengths = torch.tensor([8123, 5000, 2000, 401])
    torch.testing.assert_close(fused(waves, lengths), plain(waves, lengths), atol=2e-3, rtol=0)
    assert float((fused.energies(waves) - plain.energies(waves)).abs().median()) < 1e-5


def test_in_bfloat16_it_is_as_precise_as_the_plain_one():
    torch.manual_seed(0)
    plain = untrained(ENCODER, 80, 1, 0)
    fused, rounded = deepcopy(plain), deepcopy(plain)
    fuse(fused)
    features, upstream = torch.randn(6, 40, 80), torch.randn(6, 12)
    exact = plain(features)
    exact.backward(upstream)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = {model: model(features) for model in (fused, rounded)}
    errors = {}
    for model, output in outputs.items():
        output.backward(upstream)
        weights = [(one.grad, two.grad) for one, two in zip(model.parameters(), plain.parameters(), strict=True) if two.grad is not None]
        errors[model] = off(output, exact), torch.tensor([off(one, two) for one, two in weights]).median()
    assert errors[fused][0] < 1.5 * errors[rounded][0]
    assert errors[fused][1] < 1.5 * errors[rounded][1]


def test_norms_of_several_processes_stay():
    encoder = untrained(ENCODER, 80, 1, 0)
    synchronise(encoder, torch.device("cpu"), lambda tensor: tensor)
    plain = deepcopy(encoder)
    fuse(encoder)
    features = torch.randn(4, 40, 80)
    assert off(encoder(features), plain(features)) < 1e-4
