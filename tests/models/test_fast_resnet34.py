"""FastResNet34's parts, against torch's and torchvision's own."""

import torch
from torch import nn
from torchvision.ops import SqueezeExcitation

from selfsv.models.fast_resnet34 import SeBlock, SelfAttentivePooling, standardised


def test_features_are_standardised_as_by_an_instance_norm():
    torch.manual_seed(0)
    maps, mask = torch.randn(3, 1, 5, 40) * 3 + 7, torch.ones(3, 1, 1, 40)
    mask[1, ..., 11:] = 0
    norm = nn.InstanceNorm1d(5)
    torch.testing.assert_close(standardised(maps, None), norm(maps[:, 0]).unsqueeze(1))
    torch.testing.assert_close(standardised(maps * mask, mask)[1, 0, :, :11], norm(maps[1, :, :, :11])[0])


@torch.no_grad()
def test_a_block_rescales_by_squeeze_excitation():
    torch.manual_seed(0)
    block, reference = SeBlock(16, 16, (1, 1)).eval(), SqueezeExcitation(16, 2)
    for ours, theirs in ((block.squeeze, reference.fc1), (block.excite, reference.fc2)):
        theirs.weight.copy_(ours.weight[:, :, None, None])
        theirs.bias.copy_(ours.bias)
    maps = torch.randn(2, 16, 6, 9)
    inner = block.second(block.first.norm(block.first.conv(maps).relu()))
    torch.testing.assert_close(block(maps, None), (reference(inner) + maps).relu())


@torch.no_grad()
def test_pooling_is_attention_with_one_query():
    torch.manual_seed(0)
    pool, frames = SelfAttentivePooling(6), torch.randn(2, 15, 6)
    keys = torch.tanh(frames @ pool.hidden.weight.T + pool.hidden.bias)
    query = pool.attend.weight.expand(2, 1, 6)
    expected = nn.functional.scaled_dot_product_attention(query, keys, frames, scale=1.0).squeeze(1)
    torch.testing.assert_close(pool(frames, None), expected)
