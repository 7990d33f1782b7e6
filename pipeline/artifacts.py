"""Reading and writing the files that pass between stages: whole or not at all."""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step.

    A reader sees the old file or the whole new one, also after a crash or a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_table(path: Path, table: pa.Table | pd.DataFrame) -> None:
    """`table` as a Parquet file at `path`, atomically."""
    arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    write_atomically(path, lambda file: pq.write_table(arrow, file))


def read_table(path: Path, columns: Iterable[str] | None = None) -> pd.DataFrame:
    """The Parquet file at `path`.

    Raises:
        InputError: it is missing, is no Parquet file, or lacks one of `columns`.
    """
    try:
        return pq.read_table(path, columns=None if columns is None else list(columns)).to_pandas()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: run the stage that makes it") from None
    except (pa.ArrowInvalid, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}): delete it and run the stage that makes it again") from None


def write_text(path: Path, text: str) -> None:
    """`text` as a UTF-8 file at `path`, atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def save_torch(path: Path, value: Any) -> None:
    """`value` (tensors and plain containers) as a Torch file at `path`, atomically."""
    import torch

    write_atomically(path, lambda file: torch.save(value, file))


def load_torch(path: Path, *, mmap: bool = False) -> Any:
    """The Torch file at `path`: tensors and plain containers only, never code.

    Raises:
        InputError: it is missing, damaged, or holds anything else.
    """
    import pickle

    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: run the stage that makes it") from None
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} cannot be read ({error}): delete it and run the stage that makes it again") from None


def write_embeddings(path: Path, utterances: np.ndarray, embeddings: np.ndarray) -> None:
    """A Parquet file of `utterance` and `embedding`, a fixed-size list of float32.

    Args:
        utterances: [N] names.
        embeddings: [N, D].
    """
    flat = pa.array(np.ascontiguousarray(embeddings, dtype=np.float32).reshape(-1))
    lists = pa.FixedSizeListArray.from_arrays(flat, embeddings.shape[1])
    write_table(path, pa.table({"utterance": pa.array(utterances, pa.string()), "embedding": lists}))


def read_embeddings(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Names [N] and embeddings [N, D] float32 of the file at `path`.

    Raises:
        InputError: it is missing or no such file, or an embedding is not finite.
    """
    try:
        table = pq.read_table(path, columns=["utterance", "embedding"])
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: run the stage `extract`") from None
    lists = table["embedding"].combine_chunks()
    embeddings = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1)
    if not np.isfinite(embeddings).all():
        culprit = table["utterance"][int(np.flatnonzero(~np.isfinite(embeddings).all(axis=1))[0])]
        raise InputError(f"{path}: the embedding of '{culprit}' is not finite; train its model again")
    return table["utterance"].to_numpy(zero_copy_only=False), embeddings


def content_hash(paths: Iterable[Path], *texts: str) -> str:
    """A hash of files' contents and of texts, which names the trainer state that belongs to them."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    for path in paths:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
