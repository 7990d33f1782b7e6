"""ResNet34 for speakers (He et al., 2016; Zeinali et al., 2019), with the sizes of WeSpeaker's."""

from selfsv.models.residual import BasicBlock, ResidualEncoder, Stride
from selfsv.settings.encoder import EncoderSettings


class ResNet34(ResidualEncoder):
    """Log-mel features to a speaker embedding, through 3, 4, 6 and 3 basic blocks.

    Args:
        settings: the number of channels, in `settings.resnet34`.
        mel_bins: features per frame.
    """

    def __init__(self, settings: EncoderSettings, mel_bins: int):
        channels = settings.resnet34.channels

        def block(inputs: int, stage: int, stride: Stride) -> BasicBlock:
            return BasicBlock(inputs, channels * 2**stage, stride)

        super().__init__(f"ResNet34 of {channels} channels", settings, channels, block, mel_bins)
