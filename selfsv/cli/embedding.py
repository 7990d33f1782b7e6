"""Embed recordings for a command, and report those that cannot be used."""

import sys
from typing import NamedTuple

import numpy as np

from selfsv.errors import InputError, printable
from selfsv.inference.quality import Quality
from selfsv.inference.recordings import Recording
from selfsv.inference.speaker_model import SpeakerModel
from selfsv.prepare.speech_detection import SpeechDetector
from selfsv.progress import progress

LONG = 50  # recordings from which on one wants to see progress


class Voices(NamedTuple):
    """Recordings that could be used, and the others with the reason."""

    recordings: list[Recording]
    embeddings: np.ndarray  # [N, D] float32
    seconds: list[float]
    rejected: list[tuple[Recording, str]]
    qualities: list[Quality]


def embedded(model: SpeakerModel, recordings: list[Recording], threads: int, detector: SpeechDetector | None = None) -> Voices:
    """Embed `recordings`, or the speech in them; those that cannot be used are said on standard error.

    Raises:
        InputError: none can be used.
    """
    found = model.embed_files([recording.path for recording in recordings], threads, detector)
    if len(recordings) >= LONG:
        found = progress(found, len(recordings), "embed", "recording")
    used: list[Recording] = []
    embeddings, seconds, rejected, qualities = [], [], [], []
    for recording, voice in zip(recordings, found, strict=True):
        if voice.embedding is None or voice.quality is None:
            rejected.append((recording, voice.reason))
            print(f"selfsv: {printable(recording.shown)}: {printable(voice.reason)}", file=sys.stderr)
        else:
            used.append(recording)
            embeddings.append(voice.embedding)
            seconds.append(voice.seconds)
            qualities.append(voice.quality)
    if not used:
        raise InputError("none of the recordings can be used")
    return Voices(used, np.stack(embeddings), seconds, rejected, qualities)


def all_embedded(model: SpeakerModel, recordings: list[Recording], threads: int, detector: SpeechDetector | None = None) -> Voices:
    """Embed `recordings`, of which none may fail.

    Raises:
        InputError: one cannot be used; it has been said which.
    """
    voices = embedded(model, recordings, threads, detector)
    if voices.rejected:
        raise InputError("a recording cannot be used")
    return voices


def reasons(rejected: list[tuple[Recording, str]]) -> list[dict[str, str]]:
    """The recordings that could not be used, for JSON."""
    return [{"recording": printable(recording.shown), "reason": reason} for recording, reason in rejected]
