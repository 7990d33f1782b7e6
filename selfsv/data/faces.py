"""Random access to the aligned faces of a corpus: an index, and one memory map of encoded images per shard."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from selfsv.artifacts import check_places, map_shards
from selfsv.data.face_images import Pixels, decoded
from selfsv.errors import InputError


class PackedFaces:
    """The faces of given utterances.

    Args:
        index: `faces.parquet`; its images are not read.
        shards: `faces-{shard}.pt`, in the order of their numbers.
        utterances: [N] names; an utterance may have no face.

    Attributes:
        count: [N] int64, faces of each utterance.

    Raises:
        InputError: a file is missing or damaged, or a face is outside of the shards; the message names its row.
    """

    def __init__(self, index: Path, shards: list[Path], utterances: np.ndarray):
        names, counts, places = _read_index(index)
        self._shards = shards
        self._images = map_shards(shards, np.uint8)
        self._shard, self._offset, self._num_bytes = check_places(index, shards, self._images, places, "find the faces again")
        place = pa.compute.index_in(pa.array(utterances, pa.string()), names).to_numpy(zero_copy_only=False)
        known = ~np.isnan(place.astype(np.float64))
        rows = np.where(known, place, 0).astype(np.int64)
        self.count = np.where(known, counts[rows], 0) if len(counts) else np.zeros(len(utterances), np.int64)
        self._first = (np.cumsum(counts) - counts)[rows] if len(counts) else rows

    def __len__(self) -> int:
        return len(self.count)

    def fingerprint(self) -> str:
        """The identity of these faces: whose they are, and the size of every single image."""
        counts = hashlib.sha256(self.count.tobytes()).hexdigest()
        return counts + hashlib.sha256(self._num_bytes.tobytes()).hexdigest()

    def image(self, utterance: int, face: int) -> Pixels:
        """[112, 96, 3] uint8 RGB, the `face`-th face of an utterance.

        Raises:
            InputError: its bytes are no such image; the message names the shard and the place in it.
        """
        row = self._first[utterance] + face
        start = self._offset[row]
        try:
            return decoded(self._images[self._shard[row]][start : start + self._num_bytes[row]].tobytes())
        except ValueError as error:
            raise InputError(f"{self._shards[self._shard[row]]}, from byte {start} on: {error}; find the faces again") from None


def _read_index(path: Path) -> tuple[pa.Array, np.ndarray, pd.DataFrame]:
    """Names of utterances in order, how many faces each has, and of every face the shard, offset and size."""
    columns = ["shard", "offset", "num_bytes"]
    try:
        table = pq.read_table(path, columns=["utterance", *columns], read_dictionary=["utterance"], partitioning=None)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: run the stage `face_manifest`") from None
    except (pa.ArrowException, OSError, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}): delete it and run the stage `face_manifest` again") from None
    # Faces of one utterance follow each other: millions of names need not become millions of Python strings.
    runs = pa.compute.run_end_encode(table["utterance"].cast(pa.string()).combine_chunks())
    counts = np.diff(runs.run_ends.to_numpy(), prepend=0).astype(np.int64)
    return runs.values, counts, table.select(columns).to_pandas()
