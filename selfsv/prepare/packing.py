"""Shards: the audio of many utterances in one flat, memory-mappable file, and the manifest that finds them in it."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from selfsv.artifacts import FlatTensor
from selfsv.cut_names import piece_name, recordings_of
from selfsv.errors import InputError
from selfsv.parallel import ordered_map
from selfsv.prepare.containers import RejectionError
from selfsv.prepare.cutting import Span, detector_of, spans
from selfsv.prepare.decoding import RATE, load_utterance
from selfsv.prepare.listing import count_reasons
from selfsv.prepare.speech_detection import SpeechDetector
from selfsv.settings.data import CutSettings, DecodingSettings, RejectionSettings

EXAMPLES = 10  # rejected files named in an error message

MANIFEST = pa.schema(
    [
        ("utterance", pa.string()),
        ("path", pa.string()),
        ("session", pa.string()),
        ("num_samples", pa.int64()),
        ("shard", pa.int64()),
        ("offset", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)


Row = tuple[str, str, int, float]  # of a listing: path, reason, channel, speed


class Piece(NamedTuple):
    """An utterance of a recording."""

    start: float | None  # in the recording, seconds; None: it is the recording
    samples: np.ndarray  # [num_samples] int16


class Packed(NamedTuple):
    """The result for one utterance: its length and place in the shard, in samples, or the reason why it is not there."""

    num_samples: int
    offset: int
    reason: str


def decoded(listing: pd.DataFrame, settings: DecodingSettings, threads: int) -> Iterator[np.ndarray | str]:
    """[num_samples] int16 of each row of `listing`, or the reason for its rejection, in the listing's order."""
    return ordered_map(partial(_load, settings), _rows(listing), threads)


def _rows(listing: pd.DataFrame) -> Iterator[Row]:
    return zip(*(listing[name] for name in ("path", "reason", "channel", "speed")), strict=True)


def _load(settings: DecodingSettings, row: Row) -> np.ndarray | str:
    path, reason, channel, speed = row
    if reason:
        return reason
    try:
        return load_utterance(path, min_seconds=settings.min_seconds, min_peak=settings.min_peak, channel=int(channel), speed=float(speed))
    except RejectionError as rejection:
        return str(rejection)


def decoded_pieces(listing: pd.DataFrame, settings: DecodingSettings, cut: CutSettings | None, threads: int) -> Iterator[list[Piece] | str]:
    """As `decoded`, with each recording cut into utterances; it is decoded once, and they are views of its samples.

    Args:
        cut: None: recordings stay whole.

    Raises:
        InputError: the package of the detector that `cut` names is missing.
    """
    detector = None if cut is None else detector_of(cut)
    return ordered_map(partial(_load_pieces, settings, cut, detector), _rows(listing), threads)


def _load_pieces(settings: DecodingSettings, cut: CutSettings | None, detector: SpeechDetector | None, row: Row) -> list[Piece] | str:
    samples = _load(settings, row)
    if isinstance(samples, str):
        return samples
    found = [Span(0, len(samples))] if cut is None else spans(samples, cut, detector)
    if found == [Span(0, len(samples))]:
        return [Piece(None, samples)]
    return [Piece(span.start / RATE, samples[span.start : span.end]) for span in found] or "silent: no speech in it"


def write_shard(path: Path, utterances: Iterable[np.ndarray | str]) -> list[Packed]:
    """Write the samples of `utterances` one after the other as a 1-D int16 tensor at `path`, atomically."""
    with FlatTensor(path, np.int16) as flat:
        return [_append(flat, samples) for samples in utterances]


def write_pieces(path: Path, listing: pd.DataFrame, recordings: Iterable[list[Piece] | str]) -> tuple[pd.DataFrame, list[Packed]]:
    """As `write_shard`, of recordings that are cut into utterances.

    Returns:
        The rows of `listing` with a row for each utterance that a recording is cut into, and the results for them. The recording
        is the session of its pieces.
    """
    rows: list[tuple[int, float | None]] = []
    packed: list[Packed] = []
    with FlatTensor(path, np.int16) as flat:
        for row, recording in enumerate(recordings):
            found: list[tuple[float | None, np.ndarray | str]] = [(None, recording)] if isinstance(recording, str) else [*recording]
            for start, samples in found:
                rows.append((row, start))
                packed.append(_append(flat, samples))
    table = listing.iloc[[row for row, _ in rows]].reset_index(drop=True)
    named = [
        (name, session) if start is None else (piece_name(name, start), name)
        for name, session, (_, start) in zip(table["utterance"], table["session"], rows, strict=True)
    ]
    return table.assign(utterance=[name for name, _ in named], session=[session for _, session in named]), packed


def _append(flat: FlatTensor, samples: np.ndarray | str) -> Packed:
    reason, samples = (samples, np.empty(0, np.int16)) if isinstance(samples, str) else ("", samples)
    return Packed(len(samples), flat.append(samples), reason)


def manifest_of(listing: pd.DataFrame, packed: list[Packed]) -> pa.Table:
    """The manifest of a shard: the rows of its `listing` with what became of each."""
    table = listing[["utterance", "path", "session", "shard"]].reset_index(drop=True)
    result = pd.DataFrame(packed, columns=list(Packed._fields))
    result["status"] = np.where(result["reason"] == "", "ok", "rejected")
    return pa.Table.from_pandas(table.join(result)[MANIFEST.names], schema=MANIFEST, preserve_index=False)


def merge_manifests(manifests: Iterable[pd.DataFrame]) -> pa.Table:
    """One manifest of all shards', sorted by utterance.

    Raises:
        InputError: two utterances have the same name: one is a file, the other a piece of a recording.
    """
    table = pd.concat(manifests, ignore_index=True).sort_values("utterance", ignore_index=True)
    twice = table["utterance"].duplicated(keep=False)
    if twice.any():
        name, first, second = table["utterance"][twice].iloc[0], *table["path"][twice].iloc[:2]
        raise InputError(f"two utterances are called '{name}': of {first} and of {second}. Rename the file of that name")
    return pa.Table.from_pandas(table[MANIFEST.names], schema=MANIFEST, preserve_index=False)


def check_rejections(manifest: pd.DataFrame, settings: RejectionSettings) -> str:
    """One line on how much of a corpus is usable.

    Raises:
        InputError: more than the allowed fraction was rejected, or nothing is left; the message names reasons and files.
    """
    rejected = manifest[manifest["status"] == "rejected"]
    files = recordings_of(manifest).nunique()
    summary = f"{files - len(rejected)} of {files} files are usable"
    if not len(rejected):
        return summary
    summary += "; rejected: " + ", ".join(f"{count} {reason}" for reason, count in count_reasons(rejected["reason"]))
    if len(rejected) < files and len(rejected) <= settings.max_rejected * files:
        return summary
    examples = "".join(f"\n  {path}: {reason}" for path, reason in zip(rejected["path"][:EXAMPLES], rejected["reason"], strict=False))
    more = f"\n  and {len(rejected) - EXAMPLES} more" if len(rejected) > EXAMPLES else ""
    advice = f"At most {settings.max_rejected:.1%} may be rejected: mend or remove these files, or raise `rejection.max_rejected`"
    raise InputError(f"{summary}. {advice}{examples}{more}")
