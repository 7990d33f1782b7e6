"""CAM++'s parts, against torch's pooling and convolutions."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from selfsv.models.campplus import ContextMask, DenseBlock, segment_sums
from selfsv.models.ecapa import TimeDelay


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 99, 100, 101, 250])
def test_gates_are_those_of_means_over_utterance_and_segment(frames):
    torch.manual_seed(0)
    context, values = ContextMask(8, 5), torch.randn(3, 8, frames) + 2
    segments = F.avg_pool1d(values, 100, 100, ceil_mode=True).repeat_interleave(100, dim=2)[..., :frames]
    means = (values.mean(dim=2, keepdim=True) + segments).transpose(1, 2)
    expected = torch.sigmoid(context.excite(context.squeeze(means).relu()))
    torch.testing.assert_close(context(values.transpose(1, 2), None), expected)


def test_segments_add_up_to_the_whole():
    values = torch.randn(2, 321, 3, dtype=torch.float64)
    sums = segment_sums(values)
    assert sums.shape == (2, 4, 3)
    torch.testing.assert_close(sums.sum(dim=1), values.sum(dim=1))


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 20, 21])
def test_a_time_delay_that_strides_is_a_convolution(frames):
    torch.manual_seed(0)
    ours, theirs = TimeDelay(6, 4, kernel=5, stride=2, bias=False), nn.Conv1d(6, 4, 5, stride=2, padding=2, bias=False)
    theirs.weight.copy_(ours.affine.weight.view(4, 5, 6).transpose(1, 2))
    values = torch.randn(2, frames, 6)
    torch.testing.assert_close(ours(values), theirs(values.transpose(1, 2)).transpose(1, 2))


@torch.no_grad()
def test_a_layer_sees_all_layers_before_it():
    torch.manual_seed(0)
    block, frames = DenseBlock(6, 4, 3, 1).eval(), torch.randn(2, 30, 6)
    seen = frames
    for layer in block.layers:
        seen = torch.cat([seen, layer(seen, None)], dim=2)
    assert seen.shape[2] == 18 and block.outputs == 9
    torch.testing.assert_close(block(frames, None), block.leave(seen))
