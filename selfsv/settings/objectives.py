"""Settings of the objectives of stage I other than DINO."""

from typing import Annotated, Literal

from pydantic import Field

from selfsv.settings.section import Fraction, Positive, Section

Temperature = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


class ContrastiveSettings(Section):
    """Contrastive learning between two crops of `crops.long_seconds` of every utterance of a batch."""

    loss: Literal["nt_xent", "angular_prototypical", "angular_contrastive"] = Field(
        "nt_xent",
        description="nt_xent (among all crops, SimCLR), angular_prototypical (first crops among second ones), "
        "angular_contrastive (both ways) [Table IV: SimCLR, AP, CEL]",
    )
    temperature: Temperature = Field(0.07, description="divides the cosines; of nt_xent [WeSpeaker]")
    margin: Weight = Field(0.0, description="taken from the positive's cosine; of nt_xent [SimCLR: none; Lepage and Dehak 2024]")
    scale: float = Field(10.0, gt=0, description="of the cosines at the start, then learnt; of the angular losses [Huh et al. 2020]")
    uniformity_weight: Weight = Field(0.0, description="weight of the spread over the sphere [Mun et al. 2020: 1.0]")
    uniformity_sharpness: float = Field(2.0, gt=0, description="t, multiplies its squared distances [Mun et al. 2020]")
    invariance_weight: Weight = Field(
        0.0, description="weight of the distance between clean and augmented crops, which doubles the work [Zhang et al. 2021: 0.1]"
    )
    adversary_weight: Weight = Field(
        0.0, description="alpha, weight of the network that tells augmentations apart, which adds half of the work [Huh et al. 2020: 3.0]"
    )
    adversary_hidden: Positive = Field(512, description="units of its hidden layer [Huh et al. 2020]")


class MomentumContrastSettings(Section):
    """Momentum contrast (MoCo): two crops of `crops.long_seconds`, negatives from a queue."""

    temperature: Temperature = Field(0.07, description="divides the cosines [WeSpeaker]")
    queue: Positive = Field(65536, description="K, keys of earlier batches that serve as negatives [WeSpeaker]")
    momentum: Fraction = Field(0.999, description="of the moving average that embeds the keys [WeSpeaker]")


class SdpnSettings(Section):
    """SDPN, Chen et al. 2023: the teacher embeds clean long crops, the student augmented short ones."""

    hidden: Positive = Field(2048, description="units of the head's two hidden layers [3D-Speaker]")
    bottleneck: Positive = Field(256, description="dimensions of the head's output [3D-Speaker]")
    batchnorm: bool = Field(True, description="BatchNorm in the head [3D-Speaker]")
    prototypes: Positive = Field(1024, description="K, learnt points that outputs are compared with [3D-Speaker]")
    student_temperature: Temperature = Field(0.1, description="divides the student's cosines [3D-Speaker]")
    teacher_temperature: Temperature = Field(0.025, description="divides the teacher's cosines [3D-Speaker: 0.1, sharpened by 0.25]")
    sinkhorn_iterations: Positive = Field(3, description="that spread the teacher's outputs over the prototypes [3D-Speaker]")
    ema_start: Fraction = Field(0.996, description="momentum of the teacher's moving average at the start, 1.0 at the end [3D-Speaker]")
    mean_entropy_weight: Weight = Field(1.0, description="weight of what keeps all prototypes in use [3D-Speaker]")
    koleo_weight: Weight = Field(0.1, description="weight of what keeps embeddings apart [3D-Speaker]")
    correlation_weight: Weight = Field(
        0.0, description="weight of the correlations between the head's dimensions [3D-Speaker: no such term; Chen et al. 2025]"
    )
