"""Random access to the aligned faces of a corpus: an index, and one memory map of encoded images per shard."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import load_torch
from pipeline.errors import InputError
from pipeline.vision.frames import Pixels
from pipeline.vision.images import decoded


class PackedFaces:
    """The faces of given utterances.

    Args:
        index: `faces.parquet`; its images are not read.
        shards: `faces-{shard}.pt`, in the order of their numbers.
        utterances: [N] names; an utterance may have no face.

    Attributes:
        count: [N] int64, faces of each utterance.

    Raises:
        InputError: a file is missing or damaged, or a shard is shorter than the index says.
    """

    def __init__(self, index: Path, shards: list[Path], utterances: np.ndarray):
        names, counts, self._shard, self._offset, self._num_bytes = _read_index(index)
        place = pa.compute.index_in(pa.array(utterances, pa.string()), names).to_numpy(zero_copy_only=False)
        known = ~np.isnan(place.astype(np.float64))
        rows = np.where(known, place, 0).astype(np.int64)
        self.count = np.where(known, counts[rows], 0) if len(counts) else np.zeros(len(utterances), np.int64)
        self._first = (np.cumsum(counts) - counts)[rows] if len(counts) else rows
        self._images = [load_torch(path, mmap=True).numpy() for path in shards]
        for number, images in enumerate(self._images):
            needed = (self._offset + self._num_bytes)[self._shard == number].max(initial=0)
            if needed > len(images):
                raise InputError(f"{shards[number]} holds {len(images)} bytes, but {index} counts on {needed}: find the faces again")

    def __len__(self) -> int:
        return len(self.count)

    def fingerprint(self) -> str:
        """What tells these faces from others: whose they are, and the size of every single image."""
        counts = hashlib.sha256(self.count.tobytes()).hexdigest()
        return counts + hashlib.sha256(self._num_bytes.tobytes()).hexdigest()

    def image(self, utterance: int, face: int) -> Pixels:
        """[112, 96, 3] uint8 RGB, the `face`-th face of an utterance."""
        row = self._first[utterance] + face
        start = self._offset[row]
        return decoded(self._images[self._shard[row]][start : start + self._num_bytes[row]].tobytes())


def _read_index(path: Path) -> tuple[pa.Array, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Names of utterances in order, how many faces each has, and of every face the shard, offset and size."""
    try:
        table = pq.read_table(path, columns=["utterance", "shard", "offset", "num_bytes"], read_dictionary=["utterance"])
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: run the stage `face_manifest`") from None
    except (pa.ArrowInvalid, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}): delete it and run the stage `face_manifest` again") from None
    # Faces of one utterance follow each other: millions of names need not become millions of Python strings.
    runs = pa.compute.run_end_encode(table["utterance"].cast(pa.string()).combine_chunks())
    counts = np.diff(runs.run_ends.to_numpy(), prepend=0).astype(np.int64)
    return runs.values, counts, *(table[name].to_numpy() for name in ("shard", "offset", "num_bytes"))
