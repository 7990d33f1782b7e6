"""Stage I of an experiment, from its settings: what it is called in tables and figures, and whether it clusters."""

from selfsv.settings.experiment import Experiment
from selfsv.settings.pretrain import PretrainSettings

ADOPTED = "initial model"


def first_clustering(pretrain: PretrainSettings) -> int | None:
    """The first epoch that begins with a clustering, from 0; None where stage I never clusters."""
    aware = pretrain.cluster_aware
    return aware.start_epoch if aware.partners != "none" and aware.start_epoch < pretrain.epochs else None


def stage_one_title(experiment: Experiment) -> str:
    """What `iter_0` of the experiment is called. A model that was taken over is none of its own trainings."""
    return ADOPTED if experiment.initial_model else pretraining_title(experiment.pretrain)


def pretraining_title(pretrain: PretrainSettings) -> str:
    """The name of the method as in the paper's Table IV, or in the article that it comes from (docs/systems.md)."""
    name = _objective_title(pretrain)
    if first_clustering(pretrain) is None:
        return name
    return f"CA-{name}" if pretrain.cluster_aware.partners == "same_cluster" else f"{name} + SSPS"


def _objective_title(pretrain: PretrainSettings) -> str:
    if pretrain.method == "dino":
        name = "RDINO" if pretrain.dino.redundancy_weight else "DINO"
        return name if pretrain.dino.ema == "cosine" else f"{name} without EMA"
    if pretrain.method != "contrastive":
        return {"momentum_contrast": "MoCo", "sdpn": "SDPN"}[pretrain.method]
    settings, simclr = pretrain.contrastive, pretrain.contrastive.loss == "nt_xent"
    parts = ["SimCLR" if simclr else "AP" if settings.loss == "angular_prototypical" else "angular contrastive"]
    if settings.uniformity_weight:  # with either angular loss it is contrastive equilibrium learning (Mun et al. 2020)
        parts = ["SimCLR", "uniformity"] if simclr else ["Unif", "CEL"]
    parts += ["channel invariance"] if settings.invariance_weight else []
    return " + ".join([*parts, *(["AAT"] if settings.adversary_weight else [])])
