"""Reading and writing the files that pass between stages: whole or not at all."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from selfsv.errors import InputError
from selfsv.writing import write_atomically


def write_table(path: Path, table: pa.Table | pd.DataFrame) -> None:
    """`table` as a Parquet file at `path`, atomically."""
    arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    write_atomically(path, lambda file: pq.write_table(arrow, file))


def read_table(path: Path, columns: Iterable[str] | None = None) -> pd.DataFrame:
    """The Parquet file at `path`.

    Raises:
        InputError: it is missing, is no Parquet file, or lacks one of `columns`.
    """
    return read_arrow(path, columns).to_pandas()


def read_arrow(path: Path, columns: Iterable[str] | None = None, schema: pa.Schema | None = None) -> pa.Table:
    """The Parquet file at `path` as an Arrow table.

    Raises:
        InputError: it is missing, is no Parquet file, lacks one of `columns`, or does not fit `schema`.
    """
    try:
        # Without partitioning: a folder above that is called `label=1` is a folder, not a column.
        return pq.read_table(path, columns=None if columns is None else list(columns), schema=schema, partitioning=None)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: run the stage that makes it") from None
    except (pa.ArrowException, OSError, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}): delete it and run the stage that makes it again") from None


def read_labels(path: Path, columns: Iterable[str] = ("utterance", "label")) -> pd.DataFrame:
    """The pseudo labels in the file at `path`: `columns`, where `label` is int64, from 0, below the number of rows.

    Raises:
        InputError: it is missing or damaged, or a label cannot be one; the message names the file and the row.
    """
    table = read_table(path, columns)
    # Clusters are numbered without gaps. What counts them, or makes a class of each, would take memory for the greatest number.
    labels = table["label"]
    valid = labels.between(0, len(table), inclusive="left") if pd.api.types.is_integer_dtype(labels) else pd.Series(False, table.index)
    refuse_rows(path, ~valid.fillna(False).to_numpy(bool), "the label is not one of the clusters' numbers", "cluster again")
    return table.astype({"label": "int64"})


def refuse_rows(path: Path, bad: np.ndarray, problem: str, advice: str) -> None:
    """Raise an `InputError` that names the first row (from 1) of the file at `path` for which `bad` ([N] bool) is true, if any is."""
    if bad.any():
        raise InputError(f"{path}, row {int(np.argmax(bad)) + 1}: {problem}; {advice}")


def write_text(path: Path, text: str) -> None:
    """`text` as a UTF-8 file at `path`, atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def save_torch(path: Path, value: Any) -> None:
    """`value` (tensors and plain containers) as a Torch file at `path`, atomically."""
    write_atomically(path, lambda file: _torch_save(value, file, path))


def _torch_save(value: Any, place: BinaryIO | Path, path: Path) -> None:
    """`torch.save`, which reports a write that failed as a RuntimeError that does not say so.

    Raises:
        OSError: `path` cannot be written.
    """
    import torch

    try:
        torch.save(value, place)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}, or it fails ({reason})", str(path)) from None


def load_torch(path: Path, *, mmap: bool = False) -> Any:
    """The Torch file at `path`: tensors and plain containers only, never code.

    Raises:
        InputError: it is missing, damaged, holds anything else, or promises tensors that are larger than the file.
    """
    import pickle

    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        size = path.stat().st_size
        inflated = any(_bytes(tensor) > min(tensor.untyped_storage().nbytes(), size) for tensor in _tensors(content))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: run the stage that makes it") from None
    except pickle.UnpicklingError:  # Torch's own message advises to load it all the same, and so to run what it holds
        raise InputError(
            f"{path} cannot be read: refused, as it holds something other than tensors and plain values, perhaps code"
        ) from None
    except OSError:
        raise
    except Exception as error:  # a forged file makes the unpickler fail in any way
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path} cannot be read ({reason}): delete it and run the stage that makes it again") from None
    if inflated:  # elements that repeat themselves: a copy would need memory for all of them
        raise InputError(f"{path} is refused: it holds a tensor that is larger than the file")
    return content


def _bytes(tensor: Any) -> int:
    return tensor.numel() * tensor.element_size()


def _tensors(content: Any) -> Iterator[Any]:
    """Every tensor in plain containers, each of them looked at once."""
    import torch

    seen: set[int] = set()
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple | set):
            waiting.extend(value)


def map_shards(paths: Iterable[Path], dtype: Any) -> list[np.ndarray]:
    """The flat tensors at `paths` as memory maps, [num_elements] of `dtype` each: opened, not read.

    Raises:
        InputError: one is missing, damaged, or no 1-D tensor of this type.
    """
    import torch

    shards = []
    for path in paths:
        shard = load_torch(path, mmap=True)
        if not isinstance(shard, torch.Tensor) or shard.ndim != 1 or shard.dtype != getattr(torch, np.dtype(dtype).name):
            raise InputError(f"{path} is no shard: it should hold one 1-D tensor of {np.dtype(dtype).name}")
        shards.append(shard.numpy())
    return shards


def check_places(
    index: Path, shards: list[Path], maps: list[np.ndarray], places: pd.DataFrame, advice: str, used: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """The place of each item, if all are inside their shards.

    Args:
        index: the file that `places` was read from.
        shards: the paths of `maps`.
        places: the shard, offset and length of each item, in this order, whatever the columns' names are.
        used: [N] bool, which rows count; None: all.

    Returns:
        Shard, offset and length of the rows that count, int64 each.

    Raises:
        InputError: an item is elsewhere, or has no length; the message names both files and the row.
    """
    numbers = [places[name] for name in places.columns]
    if not all(pd.api.types.is_integer_dtype(column) and not column.hasnans for column in numbers):
        raise InputError(f"{index}: {', '.join(map(str, places.columns))} should be whole numbers in every row; {advice}")
    shard, offset, length = (column.to_numpy(np.int64) for column in numbers)
    used = np.ones(len(places), bool) if used is None else used
    unknown = used & ((shard < 0) | (shard >= len(maps)))
    refuse_rows(index, unknown, f"the shard is none of the {len(maps)} that there are", advice)
    held = np.array([len(values) for values in maps] or [0], np.int64)[np.where(used, shard, 0)]
    outside = used & ((offset < 0) | (length < 1) | (length > held - np.clip(offset, 0, held)))  # no sum: it could overflow
    if outside.any():
        row = int(np.argmax(outside))
        name = shards[int(shard[row])]
        refuse_rows(index, outside, f"{length[row]} from {offset[row]} on are not inside {name}, which holds {held[row]}", advice)
    return shard[used], offset[used], length[used]


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
        _torch_save(mapped, finished, self._path)
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
        InputError: it is missing or no such file, or an embedding is missing, of another length, or not finite.
    """
    table = read_arrow(path, ["utterance", "embedding"])
    lists = _fixed_lists(path, table, "embedding")
    refuse_rows(path, lists.is_null().to_numpy(zero_copy_only=False), "it has no embedding", "extract again")
    embeddings = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(table), lists.type.list_size)
    if not np.isfinite(embeddings).all():
        culprit = table["utterance"][int(np.flatnonzero(~np.isfinite(embeddings).all(axis=1))[0])]
        raise InputError(f"{path}: the embedding of '{culprit}' is not finite; train its model again")
    return table["utterance"].to_numpy(zero_copy_only=False), embeddings


def read_face_embeddings(path: Path) -> np.ndarray:
    """Face embeddings [N, F] float32 of the file at `path`, NaN where an utterance has no face.

    Raises:
        InputError: the file is missing, or has no face embeddings.
    """
    lists = _fixed_lists(path, read_arrow(path, ["face_embedding"]), "face_embedding")
    faces = np.full((len(lists), lists.type.list_size), np.nan, dtype=np.float32)
    faces[lists.is_valid().to_numpy(zero_copy_only=False)] = (
        lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, lists.type.list_size)
    )
    return faces


def _fixed_lists(path: Path, table: pa.Table, column: str) -> pa.FixedSizeListArray:
    kind = table.schema.field(column).type
    if not pa.types.is_fixed_size_list(kind) or not pa.types.is_float32(kind.value_type) or kind.list_size < 1:
        raise InputError(f"{path}: `{column}` should hold lists of float32, all of one length, not {kind}; extract again")
    return table[column].combine_chunks()


def content_hash(paths: Iterable[Path], *texts: str) -> str:
    """A hash of files' contents and of texts, which names the trainer state that belongs to them."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    for path in paths:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
