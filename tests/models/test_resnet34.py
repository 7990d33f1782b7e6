"""ResNet34 for speakers: torchvision's, but for the stem and the pooling."""

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from selfsv.models.residual import ResidualBlock, map_statistics
from selfsv.models.resnet34 import ResNet34
from selfsv.settings.encoder import EncoderSettings


def copied(source: ResidualBlock, target: nn.Module, names: dict[str, str]) -> None:
    """Weights and statistics of our block into torchvision's; `names`: ours, and the number or word in theirs."""
    state = source.state_dict()
    renamed = {}
    for ours, theirs in names.items():
        for kind, prefix in (("conv", "conv"), ("norm", "bn")):
            place = f"downsample.{int(kind == 'norm')}" if theirs == "downsample" else f"{prefix}{theirs}"
            renamed |= {name.replace(f"{ours}.{kind}", place): value for name, value in state.items() if name.startswith(f"{ours}.{kind}.")}
    target.load_state_dict(renamed)


def test_the_body_is_torchvisions():
    torch.manual_seed(0)
    ours = ResNet34(EncoderSettings(architecture="resnet34", resnet34={"channels": 64}), 16)
    theirs = ResNet(BasicBlock, [3, 4, 6, 3])
    theirs.conv1, theirs.maxpool = ours.stem.conv, nn.Identity()  # one channel, no stride
    theirs.bn1 = ours.stem.norm
    blocks = [block for stage in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4) for block in stage]
    for source, target in zip(ours.blocks, blocks, strict=True):
        names = {"first": "1", "second": "2"} | ({} if isinstance(source.shortcut, nn.Identity) else {"shortcut": "downsample"})
        copied(source, target, names)
    maps: list[Tensor] = []
    theirs.layer4.register_forward_hook(lambda _, __, output: maps.append(output))
    features = torch.randn(2, 20, 16)
    for mode in (True, False):
        ours.train(mode)
        theirs.train(mode)
        with torch.no_grad():
            theirs(features.transpose(1, 2).unsqueeze(1))
            by_band = maps[-1].flatten(1, 2)  # [B, channels of every band, T]
            pooled = torch.cat([by_band.mean(dim=2), (by_band.var(dim=2, unbiased=False) + 1e-12).sqrt()], dim=1)
            torch.testing.assert_close(ours(features), ours.embed(pooled), rtol=1e-3, atol=1e-3)


def test_pooling_sees_nothing_of_the_padding():
    torch.manual_seed(0)
    maps, mask = torch.randn(2, 3, 4, 10), torch.ones(2, 1, 1, 10)
    mask[1, ..., 7:] = 0
    found = map_statistics(maps, mask)
    for row, length in enumerate((10, 7)):
        values = maps[row, ..., :length].flatten(0, 1)
        expected = torch.cat([values.mean(dim=1), values.std(dim=1, unbiased=False)])
        torch.testing.assert_close(found[row], expected)
