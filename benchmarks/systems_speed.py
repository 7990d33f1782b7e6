"""Speed of the named systems in `systems/`, each of which is an overlay on config.yaml, in steps per second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.speed_trainings import REPOSITORY, Bench, Figures, adapted, attempted, pretraining

EPOCH = 5
# A system's `pretrain.method` → how its training is made. A new method needs a line here; without one its systems are named as left out.
METHODS: dict[str, Callable[[Bench], Any]] = {"ca_dino": pretraining}


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
    method = (changes.get("pretrain") or {}).get("method", "ca_dino")
    if method not in METHODS:
        return {"skipped": f"benchmarks/systems_speed.py does not know how the method {method!r} is made"}
    system = adapted(bench, changes)
    return {"method": method, **steady(system, METHODS[method](system), EPOCH)}
