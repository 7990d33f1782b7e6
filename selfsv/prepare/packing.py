"""Shards: the audio of many utterances in one flat, memory-mappable file, and the manifest that finds them in it."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from selfsv.artifacts import FlatTensor
from selfsv.errors import InputError
from selfsv.parallel import ordered_map
from selfsv.prepare.containers import RejectionError
from selfsv.prepare.decoding import load_utterance
from selfsv.prepare.listing import count_reasons
from selfsv.settings.data import DecodingSettings, RejectionSettings

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


class Packed(NamedTuple):
    """The result for one file: its length and place in the shard, in samples, or the reason why it is not there."""

    num_samples: int
    offset: int
    reason: str


def decoded(listing: pd.DataFrame, settings: DecodingSettings, threads: int) -> Iterator[np.ndarray | str]:
    """[num_samples] int16 of each row of `listing`, or the reason for its rejection, in the listing's order."""
    rows = zip(*(listing[name] for name in ("path", "reason", "channel", "speed")), strict=True)
    return ordered_map(partial(_load, settings), rows, threads)


def _load(settings: DecodingSettings, row: tuple[str, str, int, float]) -> np.ndarray | str:
    path, reason, channel, speed = row
    if reason:
        return reason
    try:
        return load_utterance(path, min_seconds=settings.min_seconds, min_peak=settings.min_peak, channel=int(channel), speed=float(speed))
    except RejectionError as rejection:
        return str(rejection)


def write_shard(path: Path, utterances: Iterable[np.ndarray | str]) -> list[Packed]:
    """Write the samples of `utterances` one after the other as a 1-D int16 tensor at `path`, atomically."""
    with FlatTensor(path, np.int16) as flat:
        return [_append(flat, samples) for samples in utterances]


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
    """One manifest of all shards', sorted by utterance."""
    table = pd.concat(manifests, ignore_index=True).sort_values("utterance", ignore_index=True)
    return pa.Table.from_pandas(table[MANIFEST.names], schema=MANIFEST, preserve_index=False)


def check_rejections(manifest: pd.DataFrame, settings: RejectionSettings) -> str:
    """One line on how much of a corpus is usable.

    Raises:
        InputError: more than the allowed fraction was rejected, or nothing is left; the message names reasons and files.
    """
    rejected = manifest[manifest["status"] == "rejected"]
    summary = f"{len(manifest) - len(rejected)} of {len(manifest)} files are usable"
    if not len(rejected):
        return summary
    summary += "; rejected: " + ", ".join(f"{count} {reason}" for reason, count in count_reasons(rejected["reason"]))
    if len(rejected) < len(manifest) and len(rejected) <= settings.max_rejected * len(manifest):
        return summary
    examples = "".join(f"\n  {path}: {reason}" for path, reason in zip(rejected["path"][:EXAMPLES], rejected["reason"], strict=False))
    more = f"\n  and {len(rejected) - EXAMPLES} more" if len(rejected) > EXAMPLES else ""
    advice = f"At most {settings.max_rejected:.1%} may be rejected: mend or remove these files, or raise `rejection.max_rejected`"
    raise InputError(f"{summary}. {advice}{examples}{more}")
