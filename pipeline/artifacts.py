"""Reading and writing the files that pass between stages: whole or not at all."""

import hashlib
import os
import socket
import tempfile
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
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.partial")  # processes of several nodes may meet here
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


class FlatTensor:
    """Writes arrays one after the other as a single 1-D tensor, a Torch file that can be memory-mapped, whole or not at all.

    The tensor is never in memory: arrays are appended to a raw file, which is mapped and saved when the block ends well.

        with FlatTensor(path, np.int16) as flat:
            offset = flat.append(samples)
    """

    def __init__(self, path: Path, dtype: Any):
        self._path, self._dtype = path, np.dtype(dtype)

    def __enter__(self) -> "FlatTensor":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(dir=self._path.parent, prefix=f".{self._path.name}.")
        self._raw = open(Path(self._folder.name) / "raw", "wb")
        return self

    def append(self, values: np.ndarray) -> int:
        """Write `values` ([n], of the tensor's type) and return where they begin, counted in elements."""
        offset = self._raw.tell() // self._dtype.itemsize
        self._raw.write(np.ascontiguousarray(values, dtype=self._dtype.newbyteorder("<")).data)
        return offset

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        with self._folder, self._raw:
            if failure is None:
                self._raw.flush()
                self._save()

    def _save(self) -> None:
        import torch

        dtype = getattr(torch, self._dtype.name)
        size = Path(self._raw.name).stat().st_size // self._dtype.itemsize
        mapped = torch.from_file(self._raw.name, shared=False, size=size, dtype=dtype) if size else torch.empty(0, dtype=dtype)
        # `torch.save` puts the file's own name into the file: it must not vary if a file is to be made twice alike. And
        # given a name and not a file, it writes from the map without a copy in memory.
        finished = Path(self._folder.name) / self._path.name
        torch.save(mapped, finished)
        with open(finished, "rb") as file:
            os.fsync(file.fileno())
        finished.replace(self._path)


def write_embeddings(path: Path, utterances: np.ndarray, embeddings: np.ndarray, faces: np.ndarray | None = None) -> None:
    """A Parquet file of `utterance`, `embedding` and, where given, `face_embedding`, fixed-size lists of float32.

    Args:
        utterances: [N] names.
        embeddings: [N, D].
        faces: [N, F], a row of NaN where an utterance has no face; it is written as null.
    """
    columns = {"utterance": pa.array(utterances, pa.string()), "embedding": _lists(embeddings)}
    if faces is not None:
        columns["face_embedding"] = _lists(faces, np.isnan(faces).any(axis=1))
    write_table(path, pa.table(columns))


def _lists(rows: np.ndarray, missing: np.ndarray | None = None) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(rows, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1], mask=None if missing is None else pa.array(missing))


def read_embeddings(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Names [N] and embeddings [N, D] float32 of the file at `path`.

    Raises:
        InputError: it is missing or no such file, or an embedding is not finite.
    """
    table = _embeddings_table(path, ["utterance", "embedding"])
    lists = table["embedding"].combine_chunks()
    embeddings = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1)
    if not np.isfinite(embeddings).all():
        culprit = table["utterance"][int(np.flatnonzero(~np.isfinite(embeddings).all(axis=1))[0])]
        raise InputError(f"{path}: the embedding of '{culprit}' is not finite; train its model again")
    return table["utterance"].to_numpy(zero_copy_only=False), embeddings


def read_face_embeddings(path: Path) -> np.ndarray:
    """Face embeddings [N, F] float32 of the file at `path`, NaN where an utterance has no face.

    Raises:
        InputError: the file is missing, or has no face embeddings.
    """
    lists = _embeddings_table(path, ["face_embedding"])["face_embedding"].combine_chunks()
    faces = np.full((len(lists), lists.type.list_size), np.nan, dtype=np.float32)
    faces[lists.is_valid().to_numpy(zero_copy_only=False)] = (
        lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, lists.type.list_size)
    )
    return faces


def _embeddings_table(path: Path, columns: list[str]) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: run the stage `extract`") from None
    except (pa.ArrowInvalid, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}): delete it and run the stage `extract` again") from None


def content_hash(paths: Iterable[Path], *texts: str) -> str:
    """A hash of files' contents and of texts, which names the trainer state that belongs to them."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    for path in paths:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
