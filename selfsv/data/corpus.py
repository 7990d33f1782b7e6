"""Random access to a packed corpus: a manifest, and one memory map per shard."""

import copy
from pathlib import Path

import numpy as np

from selfsv.artifacts import check_places, map_shards, read_table


class PackedCorpus:
    """The utterances of a corpus that were not rejected, in the manifest's order.

    Args:
        manifest: `manifest.parquet`.
        shards: `audio-{shard}.pt`, in the order of their numbers.

    Raises:
        InputError: a file is missing or damaged, or an utterance is outside of the shards; the message names its row.
    """

    def __init__(self, manifest: Path, shards: list[Path]):
        table = read_table(manifest, ["utterance", "num_samples", "shard", "offset", "status"])
        usable = table["status"] == "ok"
        # Pages come from the disk when a crop needs them.
        self._audio = map_shards(shards, np.int16)
        # A rejected row takes no place; it keeps its number for a message.
        places = table[["shard", "offset", "num_samples"]]
        usable_places = check_places(manifest, shards, self._audio, places, "pack the corpus again", usable.to_numpy())
        self.utterances = table.loc[usable, "utterance"].to_numpy()
        self._shard, self._offset, self.num_samples = usable_places

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
