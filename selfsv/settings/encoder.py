"""Settings of the speaker encoder."""

from typing import Literal

from pydantic import Field

from selfsv.settings.section import Positive, Section


class EncoderSettings(Section):
    """ECAPA-TDNN, of CA-DINO and of every round (paper Table III)."""

    architecture: Literal["ecapa_tdnn"] = Field("ecapa_tdnn", description="the only one so far [paper Table III]")
    channels: Positive = Field(
        512, multiple_of=8, description="C: 512 (ECAPA-S) or 1024 (ECAPA-L); a multiple of the Res2 scale 8 [paper Table III]"
    )
    dilations: tuple[Positive, ...] = Field((2, 3, 4), min_length=1, description="of the SE-Res2 blocks, frames [paper Table III]")
    mfa_channels: Positive = Field(1536, description="channels of the layer that aggregates all blocks [paper Table III]")
    bottleneck: Positive = Field(128, description="hidden units of squeeze-excitation and of the attention in the pooling [ECAPA-TDNN]")
    embedding: Positive = Field(192, description="dimensions of the speaker embedding [paper Table III]")
    embedding_batchnorm: bool = Field(False, description="BatchNorm after the embedding [paper: none]")
