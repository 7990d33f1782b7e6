"""ECAPA-TDNN: size and cost as the paper's, convolutions as torch's, padding without effect."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from selfsv.models.ecapa import EcapaTdnn, TimeDelay
from selfsv.settings.encoder import EncoderSettings

SMALL = EncoderSettings(channels=16, mfa_channels=48, bottleneck=8, embedding=12, embedding_batchnorm=False)


def parameters(channels: int) -> int:
    model = EcapaTdnn(EncoderSettings(channels=channels, embedding_batchnorm=False), 80)
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameter_counts():
    assert parameters(512) == pytest.approx(6.19e6, rel=0.001)
    assert parameters(1024) == pytest.approx(14.66e6, rel=0.001)


def test_cost_at_200_frames():
    model = EcapaTdnn(EncoderSettings(embedding_batchnorm=False), 80).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 200, 80))
    # The usual count repeats, in each frame, the share of the attention's first layer that sees mean and deviation
    # (2 x 1536 inputs, 128 outputs); here it is computed once per utterance.
    saved = 199 * 2 * 1536 * 128
    assert counter.get_total_flops() / 2 + saved == pytest.approx(1.04e9, rel=0.005)


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (5, 1), (3, 4)])
def test_time_delay_is_a_convolution(kernel, dilation):
    torch.manual_seed(0)
    ours = TimeDelay(6, 4, kernel, dilation)
    theirs = nn.Conv1d(6, 4, kernel, dilation=dilation, padding=dilation * (kernel // 2))
    theirs.weight.data = ours.affine.weight.data.view(4, kernel, 6).transpose(1, 2)
    theirs.bias.data = ours.affine.bias.data
    frames = torch.randn(2, 30, 6)
    torch.testing.assert_close(ours(frames), theirs(frames.transpose(1, 2)).transpose(1, 2))


def test_an_embedding_does_not_depend_on_what_it_was_batched_with():
    torch.manual_seed(0)
    model, features = EcapaTdnn(SMALL, 80), torch.randn(3, 150, 80)
    model(features)  # statistics of BatchNorm that are not those of the start
    model.eval()
    lengths = torch.tensor([150, 97, 41])
    alone = torch.cat([model(row[None, :length]) for row, length in zip(features, lengths, strict=True)])
    torch.testing.assert_close(model(features, lengths), alone, atol=1e-5, rtol=1e-4)


def test_every_parameter_learns():
    torch.manual_seed(0)
    model = EcapaTdnn(SMALL.model_copy(update={"embedding_batchnorm": True}), 80)
    model(torch.randn(4, 60, 80)).square().mul(torch.rand(4, 12)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters() if parameter.requires_grad)
