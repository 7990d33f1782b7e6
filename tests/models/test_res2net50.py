"""Res2 blocks: torchvision's bottleneck with a grouped middle, and the cascade of groups as the paper writes it."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from selfsv.models.res2net50 import Res2Block
from selfsv.models.residual import ConvNorm

CHANNELS, WIDTH = 4, 3


def block_of(scale: int, inputs: int, stride: int) -> Res2Block:
    torch.manual_seed(0)
    block = Res2Block(inputs, CHANNELS, WIDTH, scale, (stride, stride))
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(values)
    return block.eval()


@torch.no_grad()
@pytest.mark.parametrize(("scale", "stride"), [(2, 1), (2, 2), (4, 2)])
def test_without_a_cascade_it_is_a_bottleneck_with_groups(scale, stride):
    """The last group's 3 x 3 kernel averages where the block strides, and else passes on."""
    ours = block_of(scale, 8, stride)
    width = WIDTH * scale
    shortcut = nn.Sequential(ours.shortcut.conv, ours.shortcut.norm)
    theirs = Bottleneck(8, CHANNELS, stride, shortcut, base_width=64 * width // CHANNELS).eval()
    theirs.conv1, theirs.bn1, theirs.conv3, theirs.bn3 = ours.enter.conv, ours.enter.norm, ours.leave.conv, ours.leave.norm
    theirs.conv2.weight.zero_()
    theirs.bn2.weight.fill_((1 + theirs.bn2.eps) ** 0.5)
    for index, layer in enumerate(ours.groups):
        part = slice(index * WIDTH, (index + 1) * WIDTH)
        theirs.conv2.weight[part, part] = layer.conv.weight
        theirs.bn2.weight[part], theirs.bn2.bias[part] = layer.norm.weight, layer.norm.bias
        theirs.bn2.running_mean[part], theirs.bn2.running_var[part] = layer.norm.running_mean, layer.norm.running_var
    for channel in range(width - WIDTH, width):
        if stride == 1:
            theirs.conv2.weight[channel, channel, 1, 1] = 1
        else:
            theirs.conv2.weight[channel, channel] = 1 / 9
    maps = torch.randn(2, 8, 9, 11)
    torch.testing.assert_close(ours(maps, None), theirs(maps))


@torch.no_grad()
def test_each_group_is_convolved_with_what_the_previous_one_gave():
    block = block_of(4, 16, 1)
    maps = torch.randn(2, 16, 5, 6)

    def convolved(layer: ConvNorm, values: Tensor) -> Tensor:
        norm = layer.norm
        values = F.conv2d(values, layer.conv.weight, padding=layer.conv.weight.shape[2] // 2)
        return F.batch_norm(values, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    x1, x2, x3, x4 = convolved(block.enter, maps).relu().chunk(4, dim=1)
    first, second, third = block.groups
    y1 = convolved(first, x1).relu()
    y2 = convolved(second, x2 + y1).relu()
    y3 = convolved(third, x3 + y2).relu()
    expected = (convolved(block.leave, torch.cat([y1, y2, y3, x4], dim=1)) + maps).relu()
    torch.testing.assert_close(block(maps, None), expected)
