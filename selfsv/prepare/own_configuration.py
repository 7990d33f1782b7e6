"""The configuration of somebody's own recordings: settings that follow from them, as a file in which each line has its reason."""

from collections.abc import Sequence
from copy import deepcopy
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from selfsv.errors import InputError
from selfsv.extensions import described
from selfsv.prepare.choices import Choice, nested, with_reasons
from selfsv.prepare.decoding import PACKED_BYTES_PER_SECOND
from selfsv.prepare.survey import Survey, share_of_steady
from selfsv.settings.data import CutSettings, DecodingSettings

FEWEST = 100  # recordings: with fewer there is next to nothing to learn
USABLE_SHARE = 0.9  # of a disk; embeddings, states and reports take the rest
FEW_SPEAKERS = 10
SHORTEST_SECONDS = 0.5  # a word; what is shorter says next to nothing about a speaker
FEW_SHORT = 0.02  # of a corpus: these may be rejected
LONG_SECONDS = 60.0  # recordings of this length most often hold several utterances, or talkers


class Names(NamedTuple):
    """What the user names: the beginning of the file."""

    experiment: str
    corpora: dict[str, dict[str, Any]]
    trials: dict[str, dict[str, str]]


def disk_remarks(found: Survey, free: int) -> list[str]:
    """What there is to say about the disk: packed audio is the most that the workflow writes.

    Args:
        free: bytes, where results will be.
    """
    packed = 3600 * found.hours * PACKED_BYTES_PER_SECOND
    if packed < USABLE_SHARE * free:
        return []
    return [
        f"packed, the recordings take about {packed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free here: run the workflow from a folder "
        "on a larger disk (`snakemake --directory`)"
    ]


def remarks(found: Survey, speakers: int | None, *, video: bool = False) -> list[str]:
    """Whatever a person should know about the recordings, a sentence each.

    Args:
        speakers: how many there are, where the user gave their number.
        video: whether they are videos, which the workflow does not cut.

    Raises:
        InputError: they are too few, or none of the sample can be used.
    """
    looked_at = found.looked_at
    reasons = ", ".join(f"{count} {reason}" for reason, count in found.rejected.most_common(5))
    if not len(found.seconds):
        raise InputError(f"none of {looked_at} recordings that were tried can be used ({reasons})")
    if found.usable < FEWEST:
        kind = "recordings" if found.cut_from is None else "utterances, cut from long recordings,"
        raise InputError(f"{found.usable} {kind} can be used. With fewer than {FEWEST} there is next to nothing to learn: add recordings")
    notes = []
    if found.left_out:
        notes.append(f"{described(found.left_out)} were left out")
    if found.rejected:
        notes.append(f"of {looked_at} recordings that were tried, some cannot be used: {reasons}")
    if (steady := share_of_steady(found.samples)) > 0.5:
        notes.append(
            f"the level of {100 * steady:.0f} % of the recordings hardly changes, as that of noise: is it speech? "
            "From what is not, nothing about speakers can be learnt"
        )
    if found.sessions < 2:
        notes.append("no folders keep sessions apart: a folder for each session would make calibration better")
    if found.cut_from is not None:
        notes.append(
            f"long recordings are cut into about {found.usable:,} utterances at silences. Each recording must have one talker: "
            "two in one recording are not told apart"
        )
    if (long := float((found.seconds > LONG_SECONDS).mean())) > 0.1:
        way = "`corpora.train.cut` cuts them, where each has one talker"
        if video:
            way = "a video is one utterance of one talker, so cut them before"
        notes.append(f"{100 * long:.0f} % of the recordings are longer than a minute: {way}")
    if speakers and speakers < FEW_SPEAKERS:
        notes.append(f"{speakers} speakers teach little of what separates voices: expect other voices to be confused")
    return notes


def video_remarks(videos: pd.DataFrame) -> list[str]:
    """What there is to say about videos before any is looked at, a sentence each.

    Args:
        videos: as `find_videos` has them.
    """
    notes = []
    if find_spec("facenet_pytorch") is None:
        notes.append("what finds faces is not installed: `pip install '.[audio-visual]'`")
    if without := int((videos["path"] == "").sum()):
        notes.append(
            f"{without:,} of {len(videos):,} recordings have no video and are left out of the rounds; the run stops where more than "
            "`faces.max_without_face` lack a face"
        )
    return notes


def short_choices(found: Survey) -> list[Choice]:
    """A lower limit for recordings that can be used, where the usual one would reject many.

    Args:
        found: with recordings of `SHORTEST_SECONDS` and more.
    """
    usual = DecodingSettings().min_seconds
    below = float((found.seconds < usual).mean()) if len(found.seconds) else 0.0
    if below <= FEW_SHORT:
        return []
    return [Choice("pack.min_seconds", SHORTEST_SECONDS, f"{100 * below:.0f} % of the recordings are shorter than the usual {usual:g} s")]


def cut_choices(found: Survey, names: Names) -> list[Choice]:
    """How recordings are cut, where most are long; none where trials are about them: a trial list names whole recordings."""
    if not len(found.seconds) or float(np.median(found.seconds)) <= LONG_SECONDS:
        return []
    if any(trials["corpus"] == "train" for trials in names.trials.values()):
        return []
    minutes = f"half of the recordings are longer than {np.median(found.seconds) / 60:.0f} min"
    reasons = {"longest_seconds": f"{minutes}: cut at silences, one talker each", "shortest_seconds": "enough for two crops that differ",
               "silence_db": "below a recording's loud frames", "detector": "silero, of selfsv[vad], leaves out music, too"}  # fmt: skip
    return [Choice(f"corpora.train.cut.{key}", getattr(CutSettings(), key), reason) for key, reason in reasons.items()]


def rejections(found: Survey) -> list[Choice]:
    """How much may be rejected, where the sample shows that something will be."""
    if not found.rejected:
        return []
    share = found.rejected.total() / found.looked_at
    return [Choice("rejection.max_rejected", round(min(1.0, 2 * share + 0.01), 3), "twice what a sample has, and a little more")]


def values_of(names: Names, choices: Sequence[Choice]) -> dict[str, Any]:
    """The configuration as the workflow reads it."""
    values: dict[str, Any] = {"experiment": names.experiment, "corpora": deepcopy(names.corpora)}
    return nested(choices, values | ({"trials": names.trials} if names.trials else {}))


def configuration(names: Names, choices: Sequence[Choice], head: Sequence[str]) -> str:
    """The file: `head` as comments, then the settings with their reasons."""
    return with_reasons(values_of(names, []), choices, head)
