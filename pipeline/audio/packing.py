"""Shards: the audio of many utterances in one flat, memory-mappable file, and the manifest that finds them in it."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from pipeline.audio.corpora import count_reasons
from pipeline.audio.decoding import RejectionError, load_utterance
from pipeline.errors import InputError
from pipeline.parallel import ordered_map
from pipeline.settings.data import PackSettings, RejectionSettings

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
    """What became of one file: its length and place in the shard, in samples, or the reason why it is not there."""

    num_samples: int
    offset: int
    reason: str


def decoded(listing: pd.DataFrame, settings: PackSettings, threads: int) -> Iterator[np.ndarray | str]:
    """[num_samples] int16 of each row of `listing`, or the reason for its rejection, in the listing's order."""
    rows = zip(listing["path"], listing["reason"], strict=True)
    return ordered_map(partial(_load, settings), rows, threads)


def _load(settings: PackSettings, row: tuple[str, str]) -> np.ndarray | str:
    path, reason = row
    if reason:
        return reason
    try:
        return load_utterance(path, min_seconds=settings.min_seconds, min_peak=settings.min_peak)
    except RejectionError as rejection:
        return str(rejection)


def write_shard(path: Path, utterances: Iterable[np.ndarray | str]) -> list[Packed]:
    """Write the samples of `utterances` one after the other as a 1-D int16 tensor at `path`, atomically.

    The shard is never in memory as a whole: samples are appended to a raw file, which is then mapped and saved.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        raw = Path(folder) / "samples.raw"
        with open(raw, "wb") as file:
            packed = [_append(file, samples) for samples in utterances]
        # `torch.save` puts the file's own name into the file: it must not vary if a shard is to be made twice alike.
        finished = Path(folder) / path.name
        _save_raw(raw, finished)
        finished.replace(path)
    return packed


def _append(file: BinaryIO, samples: np.ndarray | str) -> Packed:
    offset = file.tell() // 2
    if isinstance(samples, str):
        return Packed(0, offset, samples)
    file.write(np.ascontiguousarray(samples, dtype="<i2").data)
    return Packed(len(samples), offset, "")


def _save_raw(raw: Path, path: Path) -> None:
    size = raw.stat().st_size // 2
    mapped = torch.from_file(str(raw), shared=False, size=size, dtype=torch.int16) if size else torch.empty(0, dtype=torch.int16)
    torch.save(mapped, path)  # given a name and not a file, it writes from the map without a copy in memory
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def manifest_of(listing: pd.DataFrame, packed: list[Packed]) -> pa.Table:
    """The manifest of a shard: the rows of its `listing` with what became of each."""
    table = listing[["utterance", "path", "session", "shard"]].reset_index(drop=True)
    found = pd.DataFrame(packed, columns=list(Packed._fields))
    found["status"] = np.where(found["reason"] == "", "ok", "rejected")
    return pa.Table.from_pandas(table.join(found)[MANIFEST.names], schema=MANIFEST, preserve_index=False)


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
