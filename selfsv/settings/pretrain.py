"""Settings of stage I: CA-DINO, and what every objective has."""

from typing import Literal, Self

from pydantic import Field, model_validator

from selfsv.settings.objectives import ContrastiveSettings, MomentumContrastSettings, SdpnSettings, Temperature
from selfsv.settings.section import Fraction, NonNegative, Positive, Section

Objective = Literal["dino", "contrastive", "momentum_contrast", "sdpn"]
Method = Literal[Objective, "ivector"]  # the last is no objective: it has a stage and a section of its own
# The module of each, which has a class `Objective`. Imported by name, so that an edit of one reruns the trainings of no other.
OBJECTIVES: dict[Method, str] = {
    "dino": "selfsv.methods.ca_dino",
    "contrastive": "selfsv.methods.contrastive",
    "momentum_contrast": "selfsv.methods.momentum_contrast",
    "sdpn": "selfsv.methods.sdpn",
}
# The sections of each: those of the others are no part of a training.
SECTIONS: dict[Method, set[str]] = {
    "dino": {"head", "dino"},
    "contrastive": {"contrastive"},
    "momentum_contrast": {"momentum_contrast"},
    "sdpn": {"sdpn"},
}


class CropSettings(Section):
    """The views of an utterance (paper V-D1)."""

    long_crops: Positive = Field(2, description="long crops per utterance [paper V-D1]")
    long_seconds: float = Field(3.0, gt=0, description="their length, seconds [paper V-D1]")
    short_crops: Positive = Field(4, description="short crops per utterance [paper V-D1]")
    short_seconds: float = Field(2.0, gt=0, description="their length, seconds [paper V-D1]")


class HeadSettings(Section):
    """The projection head (paper III-A)."""

    hidden: Positive = Field(2048, description="units of the MLP's hidden layers [paper III-A]")
    bottleneck: Positive = Field(256, description="dimensions before the last layer [DINO]")
    prototypes: Positive = Field(65536, description="K, outputs of the weight-normalised last layer [paper V-D1]")
    batchnorm: bool = Field(False, description="BatchNorm in the MLP [paper: none]")


class DinoSettings(Section):
    """The self-distillation objective (paper III-A)."""

    ema: Literal["cosine", "none"] = Field(
        "cosine", description="the teacher: cosine (a moving average of the student) or none (a copy of it) [paper Eq. 4, Table IV]"
    )
    ema_start: Fraction = Field(0.996, description="momentum of the moving average at the start, 1.0 at the end [paper V-D1]")
    pairing: Literal["short_to_long", "all_but_same"] = Field(
        "short_to_long",
        description="the student's views that each teacher view is compared with: short_to_long (the short crops), "
        "all_but_same (all crops but itself) [paper Eq. 2]",
    )
    student_temperature: Temperature = Field(0.1, description="divides the student's logits [paper V-D1]")
    teacher_temperature: Temperature = Field(0.04, description="divides the teacher's logits, after its warm-up [paper V-D1]")
    teacher_temperature_start: Temperature = Field(0.04, description="at the start of its warm-up [paper: no warm-up]")
    teacher_temperature_epochs: NonNegative = Field(0, description="epochs of its linear warm-up [paper: none]")
    centring: Literal["centre", "sinkhorn"] = Field(
        "centre",
        description="what keeps the teacher from one prototype for everything: centre (a moving average is subtracted) or sinkhorn "
        "(each batch is spread over all prototypes) [paper Eq. 3; sinkhorn: DINOv2]",
    )
    sinkhorn_iterations: Positive = Field(3, description="of sinkhorn centring [DINOv2]")
    centre_momentum: Fraction = Field(0.9, description="of the moving average of the teacher's logits [DINO]")
    cosine_weight: float = Field(
        1.0,
        ge=0,
        description="alpha, weight of the cosine consistency loss [paper Eq. 5]. Both losses are means over their pairs, where Eq. 2 and 5 "
        "have sums of 8 and 10: 1.0 here weighs 8/10 of alpha = 1 there",
    )
    redundancy_weight: float = Field(
        0.0, ge=0, description="weight of the covariances between the embedding's dimensions [paper: none; RDINO, Chen et al. 2023]"
    )
    koleo_weight: float = Field(0.0, ge=0, description="weight of what keeps embeddings apart [paper: none; DINOv2: 0.1]")


class AdamSettings(Section):
    """Learning rates of Adam, beside those of SGD, which would be far too high for it."""

    learning_rate: float = Field(
        1.28e-3, gt=0, description="peak, for a batch of 256; scales linearly with the batch [Huh et al. 2020: 0.001 for 200]"
    )
    final_learning_rate: float = Field(
        2.7e-4, gt=0, description="at the end, likewise per 256 [Huh et al. 2020: 0.95 every 5 of 150 epochs]"
    )


class OptimiserSettings(Section):
    """SGD or Adam with a linear warm-up and a decay (paper V-D1)."""

    kind: Literal["sgd", "adam"] = Field("sgd", description="sgd, or adam with the learning rates of its own section [paper V-D1]")
    schedule: Literal["warmup_cosine", "warmup_exponential"] = Field(
        "warmup_cosine", description="after the warm-up: down half a cosine, or by the same factor in every step [paper V-D1]"
    )
    momentum: Fraction = Field(0.9, description="of SGD [paper V-E1 for stage II; V-D1 names none]")
    weight_decay: float = Field(5e-5, ge=0, description="not on biases and norms [paper V-D1; exemption DINO]")
    learning_rate: float = Field(
        0.2, gt=0, description="peak, for a batch of 256; scales linearly with the batch [paper V-D1; scaling DINO]"
    )
    final_learning_rate: float = Field(1e-5, ge=0, description="at the end, likewise per 256 [paper V-D1]")
    warmup_epochs: NonNegative = Field(20, description="epochs of linear growth from 0 [paper V-D1]")
    clip_gradient: float | None = Field(
        3.0, gt=0, description="greatest norm of each of the student's gradients, tensor by tensor; empty: no clipping [DINO]"
    )
    freeze_last_layer_epochs: NonNegative = Field(1, description="first epochs, in which the head's last layer is not trained [DINO]")
    adam: AdamSettings = AdamSettings()

    @model_validator(mode="after")
    def _decays_to_something(self) -> Self:
        if self.kind == "sgd" and self.schedule == "warmup_exponential" and not self.final_learning_rate:
            raise ValueError("no factor leads to a final_learning_rate of 0: choose a greater one, or the schedule warmup_cosine")
        return self


class ClusterAwareSettings(Section):
    """Crops from other utterances of the same or the nearest cluster (paper III-B, V-D2)."""

    partners: Literal["same_cluster", "nearest_cluster", "none"] = Field(
        "same_cluster",
        description="where the other crops come from: same_cluster, nearest_cluster (the other cluster with the nearest centroid), "
        "or none (always the utterance itself) [paper III-B; nearest_cluster: SSPS, Lepage and Dehak 2025]",
    )
    start_epoch: NonNegative = Field(90, description="plain DINO before this epoch; at or above `epochs`: never [paper V-D2]")
    every_epochs: Positive = Field(5, description="epochs between clusterings [paper V-D2]")
    clusters: Positive = Field(10000, description="K of k-means [paper VI-A, Table V]")
    iterations: Positive = Field(25, description="of k-means [faiss's default]")
    points_per_cluster: Positive = Field(
        256, description="at most this many utterances per cluster are used to find the centroids [faiss's default]"
    )


class PretrainSettings(Section):
    """Stage I: an encoder from crops alone."""

    method: Method = Field(
        "dino",
        description="dino (CA-DINO), contrastive (SimCLR, AP, CEL), momentum_contrast (MoCo), sdpn: each has a section here; or ivector, whose "
        "section is `ivector`, and which uses no other key of this one [paper III; Table IV]",
    )
    epochs: Positive = Field(150, description="visits of every utterance [paper V-D1]")
    batch_size: Positive = Field(256, description="utterances per step over all GPUs [DINO's reference batch; ours]")
    encoder_parts: Positive = Field(
        1,
        description="parts of a batch that the encoder takes one after the other, and once more for their gradients: less memory, a third more "
        "time, the same result but for BatchNorm, which normalises each part by itself [ours]",
    )
    average_last: Positive = Field(
        1, description="teacher checkpoints (one per epoch) averaged into the encoder at the end [paper: the last alone]"
    )
    crops: CropSettings = CropSettings()
    head: HeadSettings = HeadSettings()
    dino: DinoSettings = DinoSettings()
    contrastive: ContrastiveSettings = ContrastiveSettings()
    momentum_contrast: MomentumContrastSettings = MomentumContrastSettings()
    sdpn: SdpnSettings = SdpnSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    cluster_aware: ClusterAwareSettings = ClusterAwareSettings()
    on_collapse: Literal["warn", "stop"] = Field("warn", description="after a collapse of the teacher: warn, or stop the run [ours]")
