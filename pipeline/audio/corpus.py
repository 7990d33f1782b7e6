"""Random access to a packed corpus: a manifest, and one memory map per shard."""

import copy
from pathlib import Path

import numpy as np

from pipeline.artifacts import load_torch, read_table
from pipeline.errors import InputError


class PackedCorpus:
    """The utterances of a corpus that were not rejected, in the manifest's order.

    Args:
        manifest: `manifest.parquet`.
        shards: `audio-{shard}.pt`, in the order of their numbers.

    Raises:
        InputError: a shard is missing or shorter than the manifest says.
    """

    def __init__(self, manifest: Path, shards: list[Path]):
        table = read_table(manifest, ["utterance", "num_samples", "shard", "offset", "status"])
        table = table[table["status"] == "ok"]
        self.utterances = table["utterance"].to_numpy()
        self.num_samples = table["num_samples"].to_numpy(np.int64)
        self._shard = table["shard"].to_numpy(np.int64)
        self._offset = table["offset"].to_numpy(np.int64)
        # Opened, not read: pages come from the disk when a crop needs them.
        self._audio = [load_torch(path, mmap=True).numpy() for path in shards]
        for number, audio in enumerate(self._audio):
            needed = (self._offset + self.num_samples)[self._shard == number].max(initial=0)
            if needed > len(audio):
                raise InputError(f"{shards[number]} holds {len(audio)} samples, but {manifest} counts on {needed}: pack the corpus again")

    def __len__(self) -> int:
        return len(self.utterances)

    def only(self, kept: np.ndarray) -> "PackedCorpus":
        """The corpus of those utterances for which `kept` ([N] bool) is true; the memory maps are shared."""
        part = copy.copy(self)
        for name in ("utterances", "num_samples", "_shard", "_offset"):
            setattr(part, name, getattr(self, name)[kept])
        return part

    def samples(self, index: int) -> np.ndarray:
        """[num_samples] int16 of one utterance, a view of the memory map."""
        start = self._offset[index]
        return self._audio[self._shard[index]][start : start + self.num_samples[index]]

    def crop(self, index: int, position: float, length: int) -> np.ndarray:
        """[length] int16 at `position` (0 first, 1 last possible start) of one utterance; a shorter one is tiled."""
        samples = self.samples(index)
        spare = len(samples) - length
        if spare < 0:
            return np.resize(samples, length)
        start = int(position * (spare + 1))
        return samples[start : start + length]
