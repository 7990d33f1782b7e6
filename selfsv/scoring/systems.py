"""The systems of an experiment: the names of their folders, their order, and what people call them."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

BASELINES = {
    "baseline_fbank": "fbank statistics",
    "baseline_untrained": "untrained encoder",
    "baseline_whitened": "fbank statistics, whitened",
}
LARGE_MARGIN = "large_margin"
STAGE_ONE = "stage I"  # where nobody knows how it was trained
Title = Callable[[str], str]  # from the name of a system's folder to what people call it
ROUND = re.compile(r"iter_(\d+)")
FINETUNED = re.compile(r"finetuned_(random|iter_\d+)_(\d+)")


class Labelled(NamedTuple):
    """The labelled utterances that an encoder was tuned on."""

    start: str  # random, or the system whose encoder it was
    percent: int  # of the labelled utterances


def systems(rounds: int, baselines: bool) -> list[str]:
    """Names of stage I's system and those of the rounds, baselines first."""
    return [*(BASELINES if baselines else ()), *(f"iter_{index}" for index in range(rounds + 1))]


def finetuned(starts: Sequence[str], percent: Sequence[int]) -> list[str]:
    """Names of the systems that are tuned on speaker labels; what is asked for twice is made once."""
    return list(dict.fromkeys(f"finetuned_{start}_{part}" for start in starts for part in percent))


def iteration(system: str) -> int | None:
    """The number of `system`'s round; None for what is no round."""
    match = ROUND.fullmatch(system)
    return int(match[1]) if match else None


def labelled(system: str) -> Labelled | None:
    """The labels that `system` was tuned on; None for systems without labels."""
    match = FINETUNED.fullmatch(system)
    return Labelled(match[1], int(match[2])) if match else None


def title(system: str, stage_one: str = STAGE_ONE) -> str:
    """The name of `system` in tables and legends.

    Args:
        stage_one: what `iter_0` is called; `stage_one_title` of the settings knows.
    """
    index, part = iteration(system), labelled(system)
    if part:
        return f"{start_title(part.start, stage_one)}, {part.percent} % labelled"
    if index is None:
        return {**BASELINES, LARGE_MARGIN: "large margin"}.get(system, system)
    return f"DLG-LC round {index}" if index else stage_one


def start_title(start: str, stage_one: str = STAGE_ONE) -> str:
    """The name of the encoder that a fine-tuning starts from."""
    return "random weights" if start == "random" else title(start, stage_one)


def order(system: str) -> tuple[int, int, int, str]:
    """A key that sorts baselines first, then the rounds, then what was tuned, by its start and its share of labels."""
    index, part = iteration(system), labelled(system)
    if part:
        start = iteration(part.start)
        return (2, -1 if start is None else start, part.percent, system)
    if index is not None:
        return (0, index, 0, system)
    return (1 if system == LARGE_MARGIN else -1, 0, 0, system)
