"""Stage I of an experiment, from its settings: what it is called in tables and figures, and whether it clusters."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from selfsv.settings.experiment import Experiment
from selfsv.settings.objectives import ContrastiveSettings
from selfsv.settings.pretrain import DinoSettings, PretrainSettings

ADOPTED = "initial model"


def is_cluster_aware(pretrain: PretrainSettings) -> bool:
    """Whether stage I clusters at all: it asks for partners, and reaches the epoch of the first clustering."""
    aware = pretrain.cluster_aware
    return aware.partners != "none" and aware.start_epoch < pretrain.epochs


def stage_one_title(experiment: Experiment) -> str:
    """What `iter_0` of the experiment is called. A model that was taken over is none of its own trainings."""
    return ADOPTED if experiment.initial_model else pretraining_title(experiment.pretrain)


def recorded_title(settings: Mapping[str, Any]) -> str | None:
    """What `iter_0` of an experiment is called whose recorded settings these are; None where another version has written them."""
    if settings.get("initial_model"):
        return ADOPTED
    try:
        return pretraining_title(PretrainSettings.model_validate(settings["pretrain"]))
    except (ValidationError, KeyError):
        return None


def pretraining_title(pretrain: PretrainSettings) -> str:
    """The name of the method as in the paper's Table IV, or in the article that it comes from (docs/systems.md)."""
    name = _objective_title(pretrain)
    if pretrain.method == "ivector" or not is_cluster_aware(pretrain):
        return name
    return f"CA-{name}" if pretrain.cluster_aware.partners == "same_cluster" else f"{name} + SSPS"


def _objective_title(pretrain: PretrainSettings) -> str:
    match pretrain.method:
        case "dino":
            return _dino_title(pretrain.dino)
        case "contrastive":
            return _contrastive_title(pretrain.contrastive)
        case "momentum_contrast":
            return "MoCo"
        case "sdpn":
            return "SDPN"
        case "ivector":
            return "i-vectors"


def _dino_title(dino: DinoSettings) -> str:
    name = "RDINO" if dino.redundancy_weight else "DINO"
    return name if dino.ema == "cosine" else f"{name} without EMA"


def _contrastive_title(settings: ContrastiveSettings) -> str:
    parts = {"nt_xent": ["SimCLR"], "angular_prototypical": ["AP"], "angular_contrastive": ["angular contrastive"]}[settings.loss]
    if settings.uniformity_weight:  # with either angular loss it is contrastive equilibrium learning (Mun et al. 2020)
        parts = ["SimCLR", "uniformity"] if settings.loss == "nt_xent" else ["Unif", "CEL"]
    if settings.invariance_weight:
        parts.append("channel invariance")
    if settings.adversary_weight:
        parts.append("AAT")
    return " + ".join(parts)
