"""Speed of the named systems in `systems/`, each of which is an overlay on config.yaml, in steps per second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.speed_trainings import REPOSITORY, Bench, Figures, adapted, attempted, pretraining

EPOCH = 5


def objectives(bench: Bench, steady: Callable[[Bench, Any, int], Figures], folder: Path = REPOSITORY / "systems") -> Figures:
    """The first stage of every system at full shape; one that fails does not take the others with it.

    Args:
        steady: measures a training at an epoch.
    """
    overlays = sorted(folder.glob("*.yaml"))
    if not overlays:
        return {"skipped": "there are no systems in systems/"}
    return {overlay.stem: attempted(lambda overlay=overlay: _of_system(bench, steady, overlay)) for overlay in overlays}


def _of_system(bench: Bench, steady: Callable[[Bench, Any, int], Figures], overlay: Path) -> Figures:
    changes = yaml.safe_load(overlay.read_text(encoding="utf-8")) or {}
    if changes.get("pretrain", {}).get("method") == "ivector":
        return {"skipped": "it trains no network"}
    system = adapted(bench, changes)
    return {"method": system.experiment.pretrain.method, **steady(system, pretraining(system), EPOCH)}
