"""Settings of the audio-visual variant (paper IV-C): faces from video, and the encoder that looks at them."""

from pydantic import Field

from selfsv.settings.section import Fraction, Positive, Section

Range = tuple[float, float]


class DetectionSettings(Section):
    """Frames, the faces in them (MTCNN), and which of these belongs to the voice (paper V-C2)."""

    frames_per_second: float = Field(1.0, gt=0, description="frames looked at [paper V-C2]")
    frame_side: Positive = Field(
        640,
        description="larger frames are reduced to this longer side, pixels, and faces are cut from them: raise it for small faces in HD video [ours]",
    )
    smallest_face: int = Field(40, ge=12, description="least side of a face in the frame that the detector sees, pixels [ours]")
    least_probability: Fraction = Field(0.9, description="faces that the detector is less sure of are ignored [ours]")


class FaceEncoderSettings(Section):
    """ResNet34 (paper Table II)."""

    width: Positive = Field(32, description="channels of the stem and the first stage; doubled in each later stage [paper Table II]")
    blocks: tuple[Positive, Positive, Positive, Positive] = Field((3, 4, 6, 3), description="residual blocks per stage [paper Table II]")
    input_side: int = Field(224, ge=32, description="side of the square image that the encoder sees, pixels [paper V-C2]")
    embedding: Positive = Field(192, description="dimensions of the face embedding [paper Table II]")


class FaceAugmentationSettings(Section):
    """Random changes of the augmented face (paper V-C2 names them; probabilities and ranges are SimCLR's and DINO's)."""

    flip: Fraction = Field(0.5, description="probability of a horizontal flip [SimCLR]")
    colour: Fraction = Field(0.8, description="probability of a colour distortion [SimCLR]")
    brightness: Fraction = Field(0.4, description="brightness factor uniform in 1 ± this [DINO]")
    contrast: Fraction = Field(0.4, description="contrast factor uniform in 1 ± this [DINO]")
    saturation: Fraction = Field(0.2, description="saturation factor uniform in 1 ± this [DINO]")
    hue: float = Field(0.1, ge=0, le=0.5, description="hue shift uniform in ± this, turns of the colour circle [DINO]")
    grey: Fraction = Field(0.2, description="probability of a grey image [SimCLR]")
    blur: Fraction = Field(0.5, description="probability of a Gaussian blur [SimCLR]")
    blur_sigma: Range = Field((0.1, 2.0), description="its standard deviation, uniform between these, pixels of the aligned face [SimCLR]")


class FaceSettings(Section):
    """What only `modality: audio_visual` uses (paper IV-C)."""

    require_face: bool = Field(
        True, description="train on utterances with a usable face only; false: the others train the voice alone [paper V-A: true]"
    )
    max_without_face: Fraction = Field(
        0.1, description="fraction of the corpus's utterances that may lack a usable face before the run stops [ours]"
    )
    compare_modalities: bool = Field(
        True, description="cluster voices and faces alone, too, to show how well each agrees with the speakers [ours]"
    )
    detection: DetectionSettings = DetectionSettings()
    encoder: FaceEncoderSettings = FaceEncoderSettings()
    augmentation: FaceAugmentationSettings = FaceAugmentationSettings()
