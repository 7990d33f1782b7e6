"""Settings of the speaker encoder."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from selfsv.settings.section import Positive, Section

Architecture = Literal["ecapa_tdnn", "resnet34", "res2net50", "fast_resnet34", "campplus"]
# The keys of each: those of the others have no meaning for it.
KEYS: dict[Architecture, set[str]] = {
    "ecapa_tdnn": {"channels", "dilations", "mfa_channels", "bottleneck"},
    "resnet34": {"resnet34"},
    "res2net50": {"res2net50"},
    "fast_resnet34": {"fast_resnet34"},
    "campplus": {"campplus"},
}
Width = Annotated[int, Field(ge=1, le=4096)]  # bounded, so that a product of a few fits 64 bits


class ResNet34Settings(Section):
    """ResNet34 on the spectrogram, mean and deviation over time: 6.6 M parameters with 256 dimensions (Zeinali et al. 2019; WeSpeaker)."""

    channels: Width = Field(32, description="of the first stage; each of the other three has twice as many as the one before [WeSpeaker]")


class Res2Net50Settings(Section):
    """Res2Net50 on the spectrogram: 57 M parameters with 256 dimensions, 40 times ECAPA-512's work (Gao et al. 2019; hyperion)."""

    channels: Width = Field(64, description="of the stem; its stages put out 4, 8, 16 and 32 times as many [hyperion]")
    width: Width = Field(26, description="channels per group in the first stage; twice as many in each later one [hyperion: w26]")
    scale: int = Field(8, ge=2, le=64, description="groups of channels [hyperion: s8]")


class FastResNet34Settings(Section):
    """A thin ResNet34 with squeeze-excitation, meant for features.mel_bins: 40: 1.4 M parameters with 512 dimensions (Chung et al. 2020)."""

    channels: Width = Field(
        16,
        multiple_of=8,
        description="of the first stage; twice as many in each later one; a multiple of squeeze-excitation's 8 [Chung et al. 2020]",
    )


class CamPlusPlusSettings(Section):
    """CAM++, a densely connected TDNN with context-aware masking: 6.8 M parameters with 192 dimensions (Wang et al. 2023)."""

    front: Width = Field(32, description="channels of the two-dimensional front end [CAM++]")
    channels: Width = Field(128, description="before the first of the three dense blocks [CAM++]")
    growth: Width = Field(32, description="channels that each of the 52 layers adds [CAM++]")


class EncoderSettings(Section):
    """The speaker encoder, of stage I and of every round (paper Table III)."""

    architecture: Architecture = Field(
        "ecapa_tdnn",
        description="ecapa_tdnn, resnet34, res2net50, fast_resnet34, campplus. The last four have a section each; keys of an architecture "
        "that is not chosen have no effect [paper Table III: ECAPA-TDNN]",
    )
    channels: Positive = Field(
        512,
        multiple_of=8,
        description="C of ecapa_tdnn: 512 (ECAPA-S) or 1024 (ECAPA-L); a multiple of the Res2 scale 8 [paper Table III]",
    )
    dilations: tuple[Positive, ...] = Field((2, 3, 4), min_length=1, description="of ecapa_tdnn's SE-Res2 blocks, frames [paper Table III]")
    mfa_channels: Positive = Field(1536, description="channels of ecapa_tdnn's layer that aggregates all blocks [paper Table III]")
    bottleneck: Positive = Field(
        128, description="hidden units of ecapa_tdnn's squeeze-excitation and of the attention in its pooling [ECAPA-TDNN]"
    )
    embedding: Positive = Field(192, description="dimensions of the speaker embedding, of any architecture [paper Table III]")
    embedding_batchnorm: bool = Field(False, description="BatchNorm after the embedding, of any architecture [paper: none]")
    resnet34: ResNet34Settings = ResNet34Settings()
    res2net50: Res2Net50Settings = Res2Net50Settings()
    fast_resnet34: FastResNet34Settings = FastResNet34Settings()
    campplus: CamPlusPlusSettings = CamPlusPlusSettings()
    last_round: dict[str, Any] = Field(
        {}, description="keys of this section that differ in the last round, `{architecture: res2net50}` [paper: none; JHU, LG in Table X]"
    )

    @model_serializer(mode="wrap")
    def _without_other_architectures(self, dumped: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Else a key without effect would rerun trainings, and a model file would name sizes that its network does not have."""
        last = str(self.last_round.get("architecture"))
        used = set[str]().union(*(keys for name, keys in KEYS.items() if name in (self.architecture, last)))
        unused = set[str]().union(*KEYS.values()) - used | (set() if self.last_round else {"last_round"})
        return {key: value for key, value in dumped(self).items() if key not in unused}
