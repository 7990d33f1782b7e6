"""Settings of what happens to a waveform between the memory map and the encoder."""

from pydantic import Field

from selfsv.settings.section import Fraction, Positive, Section


class AugmentationSettings(Section):
    """Noise or reverberation on a crop, or both (paper V-C)."""

    probability: Fraction = Field(1.0, description="fraction of augmented crops that really are changed [paper V-C: all]")
    reverberation: Fraction = Field(0.5, description="fraction of those that get reverberation instead of noise [ours]")
    both: Fraction = Field(
        0.0, description="fraction of those that get reverberation and then noise; `reverberation` is of the others [paper V-C: none]"
    )
    snr_db: tuple[float, float] = Field((5.0, 20.0), description="signal-to-noise ratio, uniform between these, dB [paper V-C]")


class FeatureSettings(Section):
    """Kaldi-compatible log-mel filter-bank energies, without voice activity detection (paper V-C)."""

    mel_bins: Positive = Field(80, le=1024, description="mel bands [paper V-C]")
    frame_ms: float = Field(25.0, gt=0, le=1000, description="Hamming window, milliseconds [paper V-C]")
    shift_ms: float = Field(10.0, gt=0, le=1000, description="frame shift, milliseconds [paper V-C]")
    mean_normalise: bool = Field(True, description="subtract each crop's mean over time [ours]")
