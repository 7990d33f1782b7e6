"""From a path to a model: an experiment, one of its rounds, a model file, an exported folder, or a model on a hub."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from selfsv.errors import InputError
from selfsv.inference import exported, hub
from selfsv.inference.speaker_model import Background, SpeakerModel
from selfsv.models.model_file import load_model
from selfsv.scoring.calibration import read_calibration
from selfsv.scoring.cohort import read_cohort
from selfsv.scoring.systems import iteration, order
from selfsv.settings.experiment import Experiment, recorded

MODEL = "model.pt"
SETTINGS = "settings.json"
CALIBRATION = "calibration.parquet"


def load(path: str | Path, device: str = "auto") -> SpeakerModel:
    """The model at `path`, ready to embed.

    Args:
        path: an experiment's folder (then of its last round), a round's folder, a `model.pt`, a folder that `selfsv export` made, its
            `model.safetensors` alone, or a model on a hub, `organisation/model` or `organisation/model@revision`.
        device: `cpu`, `cuda`, or `auto`: a GPU where there is one.

    Raises:
        InputError: there is no model, it is damaged, or a GPU was asked for and there is none.
    """
    name, path = str(path), located(Path(path))
    place = device_named(device)
    if exported.is_exported(path):
        return replace(exported.read(path, place), name=name)
    file = model_file(path)
    model = load_model(file)
    settings = experiment_settings(file)
    background = partial(_background, file, settings) if settings else None
    calibration = file.resolve().parent / CALIBRATION
    return SpeakerModel(
        name=name,
        encoder=model.encoder.to(place),
        log_mel=model.log_mel.to(place),
        device=place,
        subtract_mean=bool(settings and settings.score.subtract_mean),
        cohort_top=settings.score.cohort_top if settings else 300,
        provenance=model.provenance,
        background_of=background,
        calibration=read_calibration(calibration) if background and calibration.is_file() else None,
    )


def located(path: Path) -> Path:
    """`path`, or the folder that a model of a hub was downloaded to.

    Raises:
        InputError: it can only be a model of a hub, and cannot be had from there.
    """
    return Path(hub.fetched(str(path))) if hub.is_name(path) else path


def device_named(name: str) -> torch.device:
    """The device `cpu`, `cuda` or `auto`.

    Raises:
        InputError: there is no GPU, or no device of this name.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"the device is 'auto', 'cpu' or 'cuda', not '{name}'")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("the device is 'cuda', but no GPU can be seen: use 'cpu'")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def model_file(path: Path) -> Path:
    """The model file that `path` stands for.

    Raises:
        InputError: there is none.
    """
    if path.is_file():
        return path
    if (path / MODEL).is_file():
        return path / MODEL
    rounds = [file for file in path.glob(f"iter_*/{MODEL}") if iteration(file.parent.name) is not None]
    if rounds:
        return max(rounds, key=lambda file: order(file.parent.name))
    if path.is_dir():
        raise InputError(f"{path} holds no model: name an experiment's folder, one of its rounds, a model.pt or an exported folder")
    raise InputError(f"{path} does not exist: name an experiment's folder, one of its rounds, a model.pt or an exported folder")


def experiment_settings(model: Path) -> Experiment | None:
    """The settings of the experiment that the model file lies in; None for a file that lies elsewhere.

    Raises:
        InputError: they cannot be read.
    """
    file = model.resolve().parents[1] / SETTINGS
    return recorded(file) if file.is_file() else None


def _background(model: Path, settings: Experiment) -> Background:
    folder = model.resolve().parent
    cohort = read_cohort(folder / "embeddings" / f"{settings.train_corpus}.parquet", folder / "pseudo_labels.parquet")
    return Background(cohort.mean.astype("float32"), cohort.means)
