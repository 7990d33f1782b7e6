"""A made-up corpus in the pipeline's own files, for the measurements of speed: packed audio, banks, faces.

What is heard and seen in it does not matter to the time that a training takes; sizes and layout do, and are those of the stages.
Nothing is decoded, synthesised or simulated: 16,000 utterances of 8 s with banks and faces take a quarter of a minute.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from selfsv.artifacts import FlatTensor, read_table, write_table
from selfsv.data.banks import NOISE_KINDS, RIR_KINDS, bank_of, save_bank
from selfsv.data.corpus import PackedCorpus
from selfsv.data.face_images import encoded
from selfsv.data.faces import PackedFaces
from selfsv.prepare.decoding import RATE
from selfsv.prepare.face_packing import FACES, Face, face_rows
from selfsv.prepare.packing import manifest_of, merge_manifests, write_shard
from selfsv.prepare.recorded import LONGEST, SHORTEST
from selfsv.prepare.synthesis import RT60, finished_response, noise_of_colour

SHARDS = 8
POOL_SECONDS = 120  # of sound that utterances are cut from
FACES_EACH = 8  # per utterance: one a second
DIFFERENT_FACES = 500
SEED = 1


class Size(NamedTuple):
    """How much is made up."""

    utterances: int
    seconds: float  # of each utterance
    noise_minutes: float  # of each kind
    rooms: int


class Corpus(NamedTuple):
    """Where it lies."""

    manifest: Path
    audio: list[Path]
    noise: Path
    rirs: Path
    faces: Path
    images: list[Path]

    def opened(self) -> PackedCorpus:
        """Its voices."""
        return PackedCorpus(self.manifest, self.audio)

    def opened_faces(self, voices: PackedCorpus) -> PackedFaces:
        """Its faces."""
        return PackedFaces(self.faces, self.images, voices.utterances)


def corpus_in(folder: Path, size: Size) -> Corpus:
    """The corpus in `folder`, made there unless an earlier run has left it."""
    folder = folder / "-".join(f"{value:g}" for value in size)
    shards = range(SHARDS)
    made = Corpus(
        folder / "manifest.parquet",
        [folder / f"audio-{shard}.pt" for shard in shards],
        folder / "noise.pt",
        folder / "rirs.pt",
        folder / "faces.parquet",
        [folder / f"faces-{shard}.pt" for shard in shards],
    )
    if not (folder / "made").exists():
        write_voices(made, size)
        write_banks(made, size)
        write_faces(made)
        (folder / "made").touch()
    return made


def write_voices(corpus: Corpus, size: Size) -> None:
    """Utterances of equal length, cut from the pool, packed as the stage `pack` does."""
    rng = np.random.default_rng(SEED)
    pool = sound(rng)
    names = np.array([f"id{row // 40:05d}/{row // 7:08d}/{row % 7:05d}" for row in range(size.utterances)])
    shard = np.arange(size.utterances) * SHARDS // size.utterances
    listing = pd.DataFrame({"utterance": names, "path": names, "session": [name.rpartition("/")[0] for name in names], "shard": shard})
    parts = [(listing[shard == number], path) for number, path in enumerate(corpus.audio)]
    manifests = [manifest_of(rows, write_shard(path, pieces(pool, [size.seconds] * len(rows), rng))) for rows, path in parts]
    write_table(corpus.manifest, merge_manifests(manifest.to_pandas() for manifest in manifests))


def sound(rng: np.random.Generator) -> np.ndarray:
    """Pink noise with swells: [num_samples] int16."""
    pool = noise_of_colour(POOL_SECONDS * RATE, 1.0, rng) * (1.2 + np.sin(np.arange(POOL_SECONDS * RATE) / RATE * 12))
    return (pool / np.abs(pool).max() * 30000).astype(np.int16)


def pieces(pool: np.ndarray, seconds: Iterable[float], rng: np.random.Generator) -> Iterator[np.ndarray]:
    """[num_samples] int16 pieces of the pool, as long as asked for."""
    for length in (round(RATE * duration) for duration in seconds):
        start = rng.integers(len(pool) - length)
        yield pool[start : start + length]


def write_banks(corpus: Corpus, size: Size) -> None:
    """Banks as large as those of the stages `noise` and `rirs`: pieces of noise of every kind, and tails that decay as those of rooms."""
    rng = np.random.default_rng(SEED + 1)
    pool, each = sound(rng), round(60 * size.noise_minutes / (SHORTEST + LONGEST) * 2)
    segments = ((kind, piece) for kind in NOISE_KINDS for piece in pieces(pool, rng.uniform(SHORTEST, LONGEST, each), rng))
    save_bank(corpus.noise, bank_of(segments, NOISE_KINDS))
    save_bank(corpus.rirs, bank_of((("room", finished_response(tail(rng), 1.0)) for _ in range(size.rooms)), RIR_KINDS))


def tail(rng: np.random.Generator) -> np.ndarray:
    """A direct path and a second of noise that decays by 60 dB in a random time: [num_samples] float32."""
    decay = np.exp(-np.log(1000) / rng.uniform(*RT60) * np.arange(RATE) / RATE)
    response = 0.2 * rng.standard_normal(RATE) * decay
    response[0] = 1.0
    return response.astype(np.float32)


def write_faces(corpus: Corpus) -> None:
    """Smooth random images, a few hundred different ones, packed as the stage `faces` does."""
    rng = np.random.default_rng(SEED)
    faces = [Face(0.0, 1.0, np.zeros((5, 2), np.float32), image) for image in images(rng)]
    names = read_table(corpus.manifest, ["utterance"])["utterance"].to_numpy()
    tables = []
    for shard, (part, path) in enumerate(zip(np.array_split(names, SHARDS), corpus.images, strict=True)):
        rows = []
        with FlatTensor(path, np.uint8) as flat:
            for name in part:
                chosen = [faces[pick] for pick in rng.integers(len(faces), size=FACES_EACH)]
                rows += face_rows(name, shard, chosen, [flat.append(np.frombuffer(face.image, np.uint8)) for face in chosen])
        tables.append(pa.Table.from_pylist(rows, FACES))
    write_table(corpus.faces, pa.concat_tables(tables))


def images(rng: np.random.Generator) -> Iterator[bytes]:
    """JPEGs of [112, 96, 3]: blurred noise and some grain, which code into about as much as a face does."""
    for _ in range(DIFFERENT_FACES):
        coarse = np.kron(rng.integers(40, 216, (14, 12, 3)), np.ones((8, 8, 1)))
        yield encoded((coarse + rng.integers(-8, 9, coarse.shape)).clip(0, 255).astype(np.uint8))
