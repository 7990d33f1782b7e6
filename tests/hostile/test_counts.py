"""Tables and media whose numbers cannot be true: one message with the file and the row, and no memory taken for them."""

import os
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import soundfile
import torch

from selfsv.artifacts import read_embeddings, read_face_embeddings, read_labels, read_table, write_embeddings, write_table
from selfsv.data.corpus import PackedCorpus
from selfsv.data.face_images import decoded
from selfsv.data.faces import PackedFaces
from selfsv.errors import InputError
from selfsv.prepare import decoding, frames, reading
from selfsv.prepare.containers import RejectionError
from selfsv.prepare.decoding import decode, load_utterance
from selfsv.prepare.face_packing import FACES, with_images
from selfsv.scoring.trials import read_trials
from tests.hostile.conftest import RATE, refused, run_stage

OUTSIDE = [
    {"length": 10**15},
    {"length": 2**63 - 1},
    {"length": 0},
    {"length": -5},
    {"offset": -1},
    {"offset": -(2**63)},
    {"offset": 2**63 - 1},
    {"offset": 100},
    {"shard": 10**6},
    {"shard": -1},
    {"shard": 2**63 - 1},
    {"length": float("nan")},
    {"offset": float("inf")},
    {"shard": None},
    {"length": "9"},
    {"length": 2.5},
]


def with_place(table: pd.DataFrame, change: dict[str, object], names: dict[str, str]) -> pd.DataFrame:
    [(key, value)] = change.items()
    column = names.get(key, key)
    values = [*table[column].tolist()[:-1], value]
    return table.assign(**{column: [str(number) for number in values] if isinstance(value, str) else values})


@pytest.fixture
def manifest(tmp_path: Path) -> tuple[Path, list[Path], pd.DataFrame]:
    """The manifest of three utterances, the second one rejected, and their shard of 100 samples."""
    table = pd.DataFrame({"utterance": ["a", "b", "c"], "num_samples": [50, 0, 50], "shard": 0, "offset": [0, 50, 50]})
    table["status"] = ["ok", "rejected", "ok"]
    torch.save(torch.ones(100, dtype=torch.int16), tmp_path / "audio-0.pt")
    write_table(tmp_path / "manifest.parquet", table)
    assert len(PackedCorpus(tmp_path / "manifest.parquet", [tmp_path / "audio-0.pt"])) == 2
    return tmp_path / "manifest.parquet", [tmp_path / "audio-0.pt"], table


@pytest.mark.parametrize("change", OUTSIDE, ids=repr)
def test_a_manifest_that_points_elsewhere_is_refused(manifest, change):
    path, shards, table = manifest
    write_table(path, with_place(table, change, {"length": "num_samples"}))
    with pytest.raises(InputError, match=r"manifest\.parquet(, row 3)?: "):
        PackedCorpus(path, shards)


def test_a_stage_takes_no_memory_for_what_a_manifest_promises(manifest):
    path, _, table = manifest
    write_table(path, with_place(table, {"length": 10**15}, {"length": "num_samples"}))
    arguments = ["--settings={}", "--seed=1", "--manifest=manifest.parquet", "--audio", "audio-0.pt", "--noise=n.pt"]
    refused(run_stage("noise", *arguments, folder=path.parent, limit=True), "manifest.parquet, row 3", "audio-0.pt")


@pytest.mark.parametrize("change", OUTSIDE, ids=repr)
def test_faces_that_lie_elsewhere_are_refused(tmp_path, change):
    torch.save(torch.ones(100, dtype=torch.uint8), tmp_path / "faces-0.pt")
    table = pd.DataFrame({"utterance": ["a", "b"], "shard": 0, "offset": [0, 50], "num_bytes": 50})
    write_table(tmp_path / "faces.parquet", with_place(table, change, {"length": "num_bytes"}))
    with pytest.raises(InputError, match=r"faces\.parquet(, row 2)?: "):
        PackedFaces(tmp_path / "faces.parquet", [tmp_path / "faces-0.pt"], np.array(["a", "b"]))


def test_faces_of_a_shard_lie_inside_it(tmp_path):
    torch.save(torch.ones(100, dtype=torch.uint8), tmp_path / "faces-0.pt")
    row = {"utterance": "a", "time_s": 0.0, "probability": 1.0, "landmarks": [0.0] * 10, "shard": 0, "offset": -1, "num_bytes": 10**12}
    with pytest.raises(InputError, match=r"faces-0\.parquet, row 1"):
        list(with_images(pa.Table.from_pylist([row], FACES), tmp_path / "faces-0.pt"))


def test_an_image_is_decoded_only_if_it_is_an_aligned_face(tmp_path):
    def announced(side: int) -> bytes:
        size = struct.pack(">HBHHB", 17, 8, side, side, 3)
        return b"\xff\xd8\xff\xc0" + size + b"\x01\x11\x00\x02\x11\x00\x03\x11\x00" + b"\xff\xd9"

    header = announced(65500)
    for content in (header, announced(5000), b"", b"\xff\xd8\xff", b"GIF89a", b"\x89PNG\r\n"):
        with pytest.raises(ValueError):
            decoded(content)
    torch.save(torch.frombuffer(bytearray(header), dtype=torch.uint8), tmp_path / "faces-0.pt")
    write_table(tmp_path / "f.parquet", pd.DataFrame({"utterance": ["a"], "shard": 0, "offset": 0, "num_bytes": len(header)}))
    with pytest.raises(InputError, match=r"faces-0\.pt, from byte 0 on: "):
        PackedFaces(tmp_path / "f.parquet", [tmp_path / "faces-0.pt"], np.array(["a"])).image(0, 0)


# --- embeddings, labels, trials ---------------------------------------------------------------------------------------


def fixed(rows: list[list[float] | None], size: int, kind: pa.DataType) -> pa.Array:
    return pa.array(rows, pa.list_(kind, size))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1.0, 2.0], [1.0]], pa.list_(pa.float32())),
        fixed([[1.0, 2.0], None], 2, pa.float32()),
        fixed([[1.0, 2.0], [float("nan"), 2.0]], 2, pa.float32()),
        fixed([[1.0, 2.0], [float("inf"), 2.0]], 2, pa.float32()),
        fixed([[1.0, 2.0], [None, 2.0]], 2, pa.float32()),
        fixed([[], []], 0, pa.float32()),
        fixed([[1.0, 2.0], [3.0, 4.0]], 2, pa.float64()),
        pa.array([1.0, 2.0]),
        pa.array(["x", "y"]),
    ],
    ids=["uneven", "null", "nan", "infinite", "null inside", "empty", "double", "numbers", "words"],
)
def test_embeddings_that_are_none_are_refused(tmp_path, column):
    path = tmp_path / "train.parquet"
    write_table(path, pa.table({"utterance": ["a", "b"], "embedding": column, "face_embedding": column}))
    with pytest.raises(InputError, match=r"train\.parquet"):
        read_embeddings(path)
    if not pa.types.is_fixed_size_list(column.type) or column.type.list_size == 0:
        with pytest.raises(InputError, match=r"train\.parquet"):
            read_face_embeddings(path)


@pytest.mark.parametrize("label", [-1, 2**40, 2, None, float("nan"), 0.5, "0"], ids=repr)
def test_labels_that_are_none_are_refused(tmp_path, label):
    path = tmp_path / "iter_0" / "pseudo_labels.parquet"
    write_table(path, pd.DataFrame({"utterance": ["a", "b"], "label": [str(0) if isinstance(label, str) else 0, label]}))
    with pytest.raises(InputError, match=r"pseudo_labels\.parquet, row [12]"):
        read_labels(path)


def test_stages_take_no_memory_for_a_label(tmp_path):
    write_table(tmp_path / "p.parquet", pd.DataFrame({"utterance": ["a", "b"], "label": [0, 2**40]}))
    write_table(tmp_path / "s.parquet", pd.DataFrame({"utterance": ["a"], "speaker": ["x"]}))
    arguments = ["--pseudo-labels=p.parquet", "--speakers=s.parquet", "--output=q.parquet"]
    refused(run_stage("quality", *arguments, folder=tmp_path, limit=True), "p.parquet, row 2")


def test_scores_are_of_embeddings_of_one_size(tmp_path):
    (tmp_path / "t.txt").write_text("1 a b\n0 b a\n")
    names = np.array(["a", "b"])
    write_embeddings(tmp_path / "test.parquet", names, np.eye(2, 4, dtype=np.float32))
    write_embeddings(tmp_path / "train.parquet", names, np.eye(2, 5, dtype=np.float32))
    write_table(tmp_path / "p.parquet", pd.DataFrame({"utterance": names, "label": [0, 1]}))
    files = ["--embeddings=test.parquet", "--train-embeddings=train.parquet", "--pseudo-labels=p.parquet", "--output=o.parquet"]
    refused(run_stage("score", "--settings={}", "--trials=t.txt", *files, folder=tmp_path), "test.parquet", "train.parquet")


def test_one_endless_line_is_no_trial_list(tmp_path):
    path = tmp_path / "trials.txt"
    path.write_text("1 a b\n")
    os.truncate(path, 8 << 30)  # a hole: nothing is written, and nobody may read it all
    with pytest.raises(InputError, match=r"trials\.txt, line 2: more than"):
        read_trials(path)


@pytest.mark.parametrize("content", [b"x" * 50_000 + b" a b\n", b"1 a b c\n", b"1 \xff b\n", b"\n\n", b"-1 a b\n"])
def test_a_broken_trial_is_named_briefly(tmp_path, content):
    (tmp_path / "trials.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"trials\.txt") as caught:
        read_trials(tmp_path / "trials.txt")
    assert len(str(caught.value)) < 500


def test_a_folder_above_is_no_column(tmp_path):
    path = tmp_path / "label=7" / "utterance=b" / "table.parquet"
    write_table(path, pd.DataFrame({"utterance": ["a"], "label": [0]}))
    assert read_table(path).to_dict("records") == [{"utterance": "a", "label": 0}]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\xff" * 60 + b"PAR1", b"PAR1" + b"\0" * 8 + b"\xff\xff\xff\x7fPAR1"])
def test_a_damaged_table_is_refused_by_name(tmp_path, content):
    (tmp_path / "m.parquet").write_bytes(content)
    for reader in (read_table, read_embeddings, read_labels):
        with pytest.raises(InputError, match=r"m\.parquet"):
            reader(tmp_path / "m.parquet")


# --- media ------------------------------------------------------------------------------------------------------------


def wav(path: Path, rate: int = RATE, channels: int = 1, promised: int | None = None, data: bytes | None = None) -> Path:
    """A WAV whose header may say anything."""
    data = np.random.default_rng(0).integers(-9000, 9000, RATE, np.int16).tobytes() if data is None else data
    size = len(data) if promised is None else promised
    chunks = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * 2 * channels & 0xFFFFFFFF, 2 * channels, 16)
    path.write_bytes(b"RIFF" + struct.pack("<I", min(size + 36, 2**32 - 1)) + chunks + b"data" + struct.pack("<I", size) + data)
    return path


def reason(path: Path) -> str:
    with pytest.raises(RejectionError) as caught:
        load_utterance(str(path), min_seconds=0.5, min_peak=0.0)
    return str(caught.value)


def test_a_wav_that_promises_more_than_it_holds(tmp_path):
    assert reason(wav(tmp_path / "a.wav", promised=2**29)).startswith("truncated")  # 4.7 hours
    assert len(load_utterance(str(wav(tmp_path / "a.wav")), min_seconds=0.5, min_peak=0.0)) == RATE


@pytest.mark.parametrize("rate", [1, 7, 999, 999_983, 2**31 - 1])
def test_a_rate_that_nobody_records_at(tmp_path, rate):
    assert reason(wav(tmp_path / "a.wav", rate=rate)).startswith(("unusable rate", "not audio", "too short"))


@pytest.mark.parametrize("rate", [8000, 11025, 12000, 22050, 32000, 44100, 48000, 88200, 96000, 176400, 192000, 384000])
def test_a_rate_that_somebody_records_at(tmp_path, rate):
    path = wav(tmp_path / "a.wav", rate=rate, data=np.random.default_rng(0).bytes(2 * rate))
    assert len(load_utterance(str(path), min_seconds=0.5, min_peak=0.0)) == RATE


def test_a_flac_that_promises_days(tmp_path, monkeypatch):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.3, 0.3, RATE), RATE)
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # the number of samples: 36 bits that end here
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    asked = []
    plain = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda self, frames, **how: asked.append(frames) or plain(self, frames, **how))
    assert reason(path).startswith(("truncated", "not audio"))
    assert max(asked, default=0) <= reading.BLOCK_VALUES


def test_hours_of_compressed_silence_are_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "LONGEST_HOURS", 6 / 3600)
    monkeypatch.setattr(reading, "BLOCK_VALUES", 30_000)
    for name in ("a.flac", "a.opus", "a.mp3", "a.wav"):
        soundfile.write(tmp_path / name, np.zeros(20 * RATE), RATE, format="OGG" if name == "a.opus" else None, subtype=None)
        assert reason(tmp_path / name).startswith("too long")


def test_blocks_together_are_the_whole_file(tmp_path, monkeypatch):
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, (50_000, 2))
    for name in ("a.flac", "a.ogg", "a.mp3", "a.wav"):
        path = str(tmp_path / name)
        soundfile.write(path, samples, RATE)
        whole = decode(path)
        with monkeypatch.context() as patch:
            patch.setattr(reading, "BLOCK_VALUES", 2000)
            np.testing.assert_allclose(decode(path), whole, atol=1e-6)
            part = decode(path, start=0.5, seconds=0.75)
        np.testing.assert_allclose(part, decode(path, start=0.5, seconds=0.75), atol=1e-6)
        assert len(part) == 0.75 * RATE


def mp4(path: Path, seconds: float = 1.0) -> Path:
    """A sound in an MP4."""
    import av

    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.full((1, round(seconds * RATE)), 0.1, np.float32), format="fltp", layout="mono")
        frame.rate = RATE
        file.mux([*stream.encode(frame), *stream.encode(None)])
    return path


def test_an_mp4_that_claims_hours(tmp_path):
    path = mp4(tmp_path / "a.mp4")
    content = bytearray(path.read_bytes())
    place = content.index(b"mdhd") + 4 + 4 + 4 + 4  # past version and the two times: time scale, then duration
    assert struct.unpack_from(">I", content, place)[0] == RATE
    struct.pack_into(">I", content, place + 4, RATE * 3600 * 30)
    times = content.index(b"stts") + 4 + 4 + 4  # past version and number of entries: frames, then the duration of each
    struct.pack_into(">I", content, times + 4, RATE * 3600)
    path.write_bytes(content)
    assert reason(path).startswith("truncated")


def test_an_mp4_that_is_cut_or_empty(tmp_path):
    whole = mp4(tmp_path / "a.mp4").read_bytes()
    for content in (whole[:200], whole[: len(whole) // 2], struct.pack(">I4sI", 2**31, b"ftyp", 0), b"\0\0\0\x08moov" * 100):
        (tmp_path / "a.mp4").write_bytes(content)
        assert reason(tmp_path / "a.mp4")


def test_a_frame_larger_than_any_film_is_not_unpacked(tmp_path, monkeypatch):
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(2):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        file.mux(stream.encode(None))
    assert len(frames.read_frames(str(tmp_path / "a.mp4"), 1.0, 640)) == 2
    monkeypatch.setattr(frames, "MOST_PIXELS", 64 * 48 - 1)
    with pytest.raises(RejectionError, match="too large"):
        frames.read_frames(str(tmp_path / "a.mp4"), 1.0, 640)
