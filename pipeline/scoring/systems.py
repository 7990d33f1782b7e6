"""The systems of an experiment: the names of their folders, their order, and what people call them."""

import re

BASELINES = {"baseline_fbank": "fbank statistics", "baseline_untrained": "untrained encoder"}
ROUND = re.compile(r"iter_(\d+)")


def systems(rounds: int, baselines: bool) -> list[str]:
    """Names of an experiment's systems, baselines first."""
    return [*(BASELINES if baselines else ()), *(f"iter_{index}" for index in range(rounds + 1))]


def iteration(system: str) -> int | None:
    """The number of `system`'s round; None for a baseline."""
    match = ROUND.fullmatch(system)
    return int(match[1]) if match else None


def title(system: str) -> str:
    """What a table or a legend calls `system`."""
    index = iteration(system)
    if index is None:
        return BASELINES.get(system, system)
    return f"DLG-LC round {index}" if index else "CA-DINO"


def order(system: str) -> tuple[int, str]:
    """A key that sorts baselines first, then the rounds."""
    index = iteration(system)
    return (-1 if index is None else index, system)
