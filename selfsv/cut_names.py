"""Names of the utterances that a long recording is cut into: the recording's own, and where in it they begin."""

import re

import pandas as pd

START = re.compile(r"@\d{5}\.\d{2}$")  # seconds; five figures, so that names of a recording of hours are sorted by time


def piece_name(recording: str, seconds: float) -> str:
    """The utterance of `recording` that begins after so many seconds: `talk@00012.35`."""
    return f"{recording}@{seconds:08.2f}"


def recording_of(utterance: str) -> str:
    """The recording that `utterance` is a piece of, by its name; a name without a start is its own."""
    return START.sub("", utterance)


def recordings_of(manifest: pd.DataFrame) -> pd.Series:
    """[N] the recording of each row of a manifest (`utterance`, `session`).

    The session of a piece is its recording. So a file whose own name ends like a piece's is not taken for one.
    """
    names = manifest["utterance"].astype(str)
    recordings = names.str.replace(START, "", regex=True)
    return recordings.where(recordings == manifest["session"].astype(str), names)
