"""Settings of the i-vector system (Dehak et al. 2011), with the sizes of Kaldi's recipe for VoxCeleb."""

from typing import Annotated, Literal

from pydantic import Field

from selfsv.settings.section import Positive, Section

Size = Annotated[int, Field(ge=1, le=65536)]  # bounded, so that a product of a few fits 64 bits


class CepstraSettings(Section):
    """Cepstra of the log-mel energies with deltas and double deltas, and which frames are speech."""

    coefficients: Size = Field(20, description="cepstral coefficients, the first included; features.mel_bins at most [Kaldi: num-ceps]")
    delta_frames: Size = Field(3, description="frames on each side that a delta is computed from [Kaldi: delta-window]")
    mean_frames: Size = Field(300, description="window around each frame whose mean is subtracted [Kaldi: cmn-window]")
    speech_threshold: float = Field(
        -2.0,
        description="a frame is speech if its log energy, or that of one two frames away at most, exceeds the utterance's mean by this "
        "[ours; Kaldi adds 5.5 to half the mean]",
    )


class IvectorSettings(Section):
    """The i-vector system, stage I with `pretrain.method: ivector` (Dehak et al. 2011)."""

    cepstra: CepstraSettings = CepstraSettings()
    components: Size = Field(2048, description="Gaussians of the universal background model (UBM), with diagonal covariances [Kaldi]")
    embedding: Annotated[int, Field(ge=1, le=4096)] = Field(400, description="dimensions of the i-vector [Kaldi: ivector-dim]")
    utterances: Positive = Field(100_000, description="the longest ones, which both models are trained on [Kaldi, for the i-vectors]")
    ubm_frames: Positive = Field(2_000_000, description="at most, every nth of the speech in them, for the UBM [ours; Kaldi: every fifth]")
    ubm_iterations: Positive = Field(20, description="of EM, after k-means [Kaldi: num-iters-init]")
    iterations: Positive = Field(5, description="of EM for the total variability matrix [Kaldi: num-iters]")


class ExtractorSettings(Section):
    """The part of `IvectorSettings` that a model file holds: the sizes of an extractor, and its features."""

    architecture: Literal["ivector"] = "ivector"
    components: Size
    embedding: Annotated[int, Field(ge=1, le=4096)]
    cepstra: CepstraSettings
