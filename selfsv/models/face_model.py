"""`face_model.pt`: a face encoder's settings and weights, and where they came from."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfsv.artifacts import load_torch, save_torch
from selfsv.errors import InputError
from selfsv.models.face_resnet34 import ResNet34
from selfsv.models.model_file import settings_of, with_weights
from selfsv.provenance import code_version
from selfsv.settings.faces import FaceEncoderSettings


def save_face_model(path: Path, settings: FaceEncoderSettings, weights: dict[str, Tensor], **provenance: Any) -> None:
    """Write `face_model.pt`; `provenance` says where the weights came from."""
    content = {
        "face_encoder": settings.model_dump(mode="json"),
        "weights": {name: value.detach().cpu().contiguous() for name, value in weights.items()},
        "provenance": {"code_version": code_version(), "torch": str(torch.__version__), **provenance},
    }
    save_torch(path, content)


def load_face_model(path: Path) -> tuple[ResNet34, FaceEncoderSettings]:
    """The face encoder in the file at `path`, in evaluation mode, and its settings.

    Raises:
        InputError: it is missing, damaged, or no face model of this project.
    """
    content = load_torch(path)
    if not isinstance(content, dict) or not {"face_encoder", "weights", "provenance"} <= content.keys():
        raise InputError(f"{path} is no face model of this project")
    settings = settings_of(path, FaceEncoderSettings, content["face_encoder"])
    return with_weights(path, lambda: ResNet34(settings), content["weights"]).eval(), settings
