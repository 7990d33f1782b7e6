"""The visual encoder: ResNet34 (paper Table II; He et al., 2016)."""

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, conv1x1, conv3x3

from selfsv.settings.faces import FaceEncoderSettings


class ResNet34(nn.Module):
    """A 3 x 3 stem at full resolution, four stages of residual blocks that each halve the image, mean pooling, embedding.

    Unlike the ResNet34 for ImageNet the stem neither strides nor pools, and the first stage strides, too.
    """

    def __init__(self, settings: FaceEncoderSettings):
        super().__init__()
        widths = [settings.width * 2**stage for stage in range(len(settings.blocks))]
        self.stem = nn.Sequential(conv3x3(3, widths[0]), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True))
        inputs = [widths[0], *widths[:-1]]
        self.stages = nn.Sequential(*(residual_stage(*sizes) for sizes in zip(inputs, widths, settings.blocks, strict=True)))
        self.embedding = nn.Linear(widths[-1], settings.embedding)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, L, L] in [-0.5, 0.5] to embeddings [B, D]."""
        return self.embedding(self.stages(self.stem(images)).mean(dim=(2, 3)))


def residual_stage(inputs: int, width: int, blocks: int) -> nn.Sequential:
    """`blocks` residual blocks of two 3 x 3 convolutions; the first one halves the image."""
    shortcut = nn.Sequential(conv1x1(inputs, width, stride=2), nn.BatchNorm2d(width))
    return nn.Sequential(BasicBlock(inputs, width, stride=2, downsample=shortcut), *(BasicBlock(width, width) for _ in range(blocks - 1)))


def untrained_face_encoder(settings: FaceEncoderSettings, seed: int, stage: int) -> ResNet34:
    """An encoder with random weights that depend on (seed, stage) alone. The random numbers of others are left as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 * seed + stage)
        return ResNet34(settings)
