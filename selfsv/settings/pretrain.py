"""Settings of stage I, CA-DINO."""

from typing import Annotated, Literal

from pydantic import Field

from selfsv.settings.section import Fraction, NonNegative, Positive, Section

Temperature = Annotated[float, Field(gt=0)]


class CropSettings(Section):
    """Multi-crop views of an utterance (paper V-D1)."""

    long_crops: Annotated[int, Field(ge=2)] = Field(2, description="long crops per utterance [paper V-D1]")
    long_seconds: float = Field(3.0, gt=0, description="their length, seconds [paper V-D1]")
    short_crops: Positive = Field(4, description="short crops per utterance [paper V-D1]")
    short_seconds: float = Field(2.0, gt=0, description="their length, seconds [paper V-D1]")


class HeadSettings(Section):
    """The projection head (paper III-A)."""

    hidden: Positive = Field(2048, description="units of the MLP's hidden layers [paper III-A]")
    bottleneck: Positive = Field(256, description="dimensions before the last layer [DINO]")
    prototypes: Positive = Field(65536, description="K, outputs of the weight-normalised last layer [paper V-D1]")
    batchnorm: bool | None = Field(None, description="BatchNorm in the MLP; empty: recipe [paper no; strong yes]")


class DinoSettings(Section):
    """The self-distillation objective (paper III-A)."""

    ema: Literal["cosine", "none"] = Field(
        "cosine", description="the teacher: moving average of the student, or a copy of it (Table IV's first row) [paper Eq. 4]"
    )
    ema_start: Fraction = Field(0.996, description="momentum of the moving average at the start, 1.0 at the end [paper V-D1]")
    pairing: Literal["short_to_long", "all_but_same"] | None = Field(
        None, description="student views set against each teacher view; empty: recipe [paper Eq. 2: short_to_long; strong all_but_same]"
    )
    student_temperature: Temperature = Field(0.1, description="[paper V-D1]")
    teacher_temperature: Temperature | None = Field(None, description="after its warm-up; empty: recipe [paper 0.04; strong 0.07]")
    teacher_temperature_start: Temperature | None = Field(None, description="before its warm-up; empty: recipe [both 0.04]")
    teacher_temperature_epochs: NonNegative | None = Field(None, description="epochs of the warm-up; empty: recipe [paper 0; strong 30]")
    centre_momentum: Fraction = Field(0.9, description="of the moving average of the teacher's logits [DINO]")
    cosine_weight: float | None = Field(
        None, ge=0, description="alpha, weight of the cosine consistency loss; empty: recipe [paper Eq. 5: 1.0; strong 0]"
    )
    redundancy_weight: float = Field(
        0.0, ge=0, description="weight of the covariances between the embedding's dimensions [paper none; RDINO]"
    )


class OptimiserSettings(Section):
    """SGD with a linear warm-up and a cosine decay (paper V-D1)."""

    momentum: Fraction = Field(0.9, description="[paper V-E1 for stage II; V-D1 names none]")
    weight_decay: float = Field(5e-5, ge=0, description="not on biases and norms [paper V-D1; exemption DINO]")
    learning_rate: float = Field(
        0.2, gt=0, description="peak, for a batch of 256; scales linearly with the batch [paper V-D1; scaling DINO]"
    )
    final_learning_rate: float | None = Field(
        None, ge=0, description="at the end, likewise per 256; empty: recipe [paper V-D1: 1e-5; strong 5e-5]"
    )
    warmup_epochs: NonNegative = Field(20, description="of linear growth from 0 [paper V-D1]")
    clip_gradient: float | None = Field(
        3.0, gt=0, description="greatest norm of each of the student's gradients, tensor by tensor; empty: any [DINO]"
    )
    freeze_last_layer_epochs: NonNegative = Field(1, description="epochs in which the head's last layer stands still [DINO]")


class ClusterAwareSettings(Section):
    """When crops may come from other utterances of the same cluster (paper III-B, V-D2)."""

    start_epoch: NonNegative = Field(90, description="plain DINO before this epoch; at or above `epochs`: never [paper V-D2]")
    every_epochs: Positive = Field(5, description="epochs between clusterings [paper V-D2]")
    clusters: Positive = Field(10000, description="K of k-means [paper VI-A, Table V]")
    iterations: Positive = Field(25, description="of k-means [faiss's default]")
    points_per_cluster: Positive = Field(
        256, description="at most this many utterances per cluster are used to find the centroids [faiss's default]"
    )


class PretrainSettings(Section):
    """Stage I as a whole."""

    epochs: Positive = Field(150, description="visits of every utterance [paper V-D1]")
    batch_size: Positive = Field(256, description="utterances per step over all devices [DINO's reference batch; ours]")
    average_last: Positive | None = Field(
        None, description="teacher checkpoints (one per epoch) averaged into the exported encoder; empty: recipe [paper 1; strong 10]"
    )
    crops: CropSettings = CropSettings()
    head: HeadSettings = HeadSettings()
    dino: DinoSettings = DinoSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    cluster_aware: ClusterAwareSettings = ClusterAwareSettings()
    on_collapse: Literal["warn", "stop"] = Field("warn", description="what a collapsed teacher does to the run [ours]")
