"""The stages from videos to faces.parquet, on small videos of photographs, good and bad."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pipeline import face_manifest, faces, listing, videos
from selfsv.data.faces import PackedFaces
from selfsv.errors import InputError
from selfsv.prepare.face_packing import check_faces
from selfsv.prepare.videos import find_videos
from selfsv.settings.data import Corpus
from tests.conftest import orl_face
from tests.vision.conftest import write_video

SHARDS = 2
PEOPLE = {"id1/a/00001": 5, "id1/a/00002": 5, "id2/b/it's $(touch owned)": 12, "id3/c/00001": 20}


def clip(person: int, bystander: int | None = None, seconds: int = 3) -> list[np.ndarray]:
    """A frame per second of a photograph that drifts slowly, with a smaller face beside it in the middle frame."""
    frames = []
    for second in range(seconds):
        canvas = Image.new("RGB", (320, 240), (100, 110, 120))
        canvas.paste(orl_face(person, 1).resize((138, 168)), (30 + 4 * second, 40 - 3 * second))
        if bystander and second == 1:
            canvas.paste(orl_face(bystander, 1).resize((69, 84)), (240, 20))
        frames.append(np.asarray(canvas))
    return frames


def run_stage(script: object, *arguments: object) -> None:
    before, sys.argv = sys.argv, ["script", *map(str, arguments)]
    try:
        script.main()  # type: ignore[attr-defined]
    finally:
        sys.argv = before


def listed(folder: Path, corpus: Path) -> None:
    settings = Corpus(layout="voxceleb", path=str(corpus)).to_json()
    run_stage(
        listing,
        *("--settings", settings, "--shards", SHARDS),
        *("--listing", folder / "listing.parquet", "--speakers", folder / "speakers.parquet"),
        *("--left-out", folder / "left_out.parquet"),
    )
    run_stage(videos, "--settings", settings, "--listing", folder / "listing.parquet", "--videos", folder / "videos.parquet")


def packed(folder: Path, corpus: Path, threads: int, most: float = 0.6) -> None:
    """All stages, from a tree of videos to the merged tables."""
    listed(folder, corpus)
    for shard in range(SHARDS):
        run_stage(
            faces,
            *("--settings", "{}", "--videos", folder / "videos.parquet", "--shard", shard, "--device", "cpu", "--threads", threads),
            *("--images", folder / f"faces-{shard}.pt", "--faces", folder / f"faces-{shard}.parquet"),
            *("--manifest", folder / f"face_manifest-{shard}.parquet"),
        )
    merged(folder, most)


def merged(folder: Path, most: float) -> None:
    parts = {"--faces": "faces-{}.parquet", "--images": "faces-{}.pt", "--manifests": "face_manifest-{}.parquet"}
    shards = [part for name, pattern in parts.items() for part in (name, *(folder / pattern.format(shard) for shard in range(SHARDS)))]
    output = "--table", folder / "faces.parquet", "--manifest", folder / "face_manifest.parquet"
    run_stage(face_manifest, "--max-without-face", most, *shards, *output)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Four good videos in VoxCeleb2's layout, and four of the kinds that occur."""
    root = tmp_path_factory.mktemp("corpus") / "mp4"
    for name, person in PEOPLE.items():
        write_video(root / f"{name}.mp4", clip(person, bystander=9 if person == 20 else None), 1, np.zeros(3 * 16000, np.int16))
    write_video(root / "id4/d/blank.mp4", [np.full((240, 320, 3), 90, np.uint8)] * 3, 1)
    (root / "id4/d/broken.mp4").write_bytes(b"\0\0\0\x18ftypisom" + b"\xff" * 300)
    (root / "id4/d/empty.mp4").touch()
    (root / "id4/d/sound.m4a").write_bytes(b"\0\0\0\x18ftypM4A " + b"\0" * 100)
    return root


@pytest.fixture(scope="module")
def results(corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    packed(folder, corpus, threads=1)
    return folder


def test_every_video_is_accounted_for(results):
    manifest = pd.read_parquet(results / "face_manifest.parquet").set_index("utterance")
    good = manifest[manifest["status"] == "ok"]
    assert set(good.index) == set(PEOPLE)
    assert (good[["frames", "detected", "faces"]] == 3).all(axis=None)
    reasons = manifest.loc[manifest["status"] == "rejected", "reason"].str.partition(":")[0]
    assert reasons.to_dict() == {
        "id4/d/blank": "no face",
        "id4/d/broken": "damaged",
        "id4/d/empty": "empty",
        "id4/d/sound": "no video",
    }
    assert not list(Path.cwd().rglob("owned")) and not list(results.rglob("owned"))


def test_faces_keep_their_contract(results):
    table = pq.read_table(results / "faces.parquet")
    assert table.column_names[:5] == ["utterance", "time_s", "probability", "landmarks", "image"]
    rows = table.to_pandas()
    assert rows["utterance"].is_monotonic_increasing and set(rows["utterance"]) == set(PEOPLE)
    assert rows.groupby("utterance")["time_s"].apply(list).map(lambda times: times == [0, 1, 2]).all()
    assert (rows["probability"] >= 0.9).all()
    for image, landmarks in zip(rows["image"], rows["landmarks"], strict=True):
        assert Image.open(io.BytesIO(image)).size == (96, 112) and len(landmarks) == 10


def test_the_track_is_the_large_face(results):
    """The bystander of the middle frame is at the right; all eyes and mouths are those of the face at the left."""
    rows = pd.read_parquet(results / "faces.parquet", filters=[("utterance", "==", "id3/c/00001")])
    assert np.stack(rows["landmarks"])[:, ::2].max() < 200


def test_packed_faces_are_those_of_the_table(results):
    names = np.array(["id3/c/00001", "id4/d/blank", "unheard of", "id1/a/00002"])
    found = PackedFaces(results / "faces.parquet", [results / f"faces-{shard}.pt" for shard in range(SHARDS)], names)
    assert found.count.tolist() == [3, 0, 0, 3]
    table = pd.read_parquet(results / "faces.parquet")
    for index in (0, 3):
        for number, image in enumerate(table.loc[table["utterance"] == names[index], "image"]):
            np.testing.assert_array_equal(found.image(index, number), np.asarray(Image.open(io.BytesIO(image))))


def test_the_same_face_looks_the_same_in_all_frames(results):
    """The photograph drifts; its aligned crops differ by the codec and by what the detector's landmarks tremble (a pixel or two)."""
    names = np.array(sorted(PEOPLE))
    found = PackedFaces(results / "faces.parquet", [results / f"faces-{shard}.pt" for shard in range(SHARDS)], names)
    for index in range(len(names)):
        crops = [found.image(index, face)[12:-4, 8:-8].astype(float) for face in range(3)]
        assert np.corrcoef(crops[0].ravel(), crops[2].ravel())[0, 1] > 0.8


def test_made_twice_it_is_the_same(corpus, results, tmp_path):
    packed(tmp_path, corpus, threads=1)
    for name in ("faces.parquet", "face_manifest.parquet", "faces-0.pt", "faces-1.pt"):
        assert (tmp_path / name).read_bytes() == (results / name).read_bytes(), name


def test_a_shard_that_does_not_fit_its_index_is_named(results, tmp_path):
    torch.save(torch.zeros(10, dtype=torch.uint8), tmp_path / "faces-0.pt")
    with pytest.raises(InputError, match=r"row 1: .*faces-0\.pt, which holds 10"):
        PackedFaces(results / "faces.parquet", [tmp_path / "faces-0.pt", results / "faces-1.pt"], np.array(["id1/a/00001"]))


def test_too_many_without_a_face_stop_the_run(results):
    with pytest.raises(InputError, match=r"4 of 8 utterances have a usable face.*At most 10\.0% may be without") as error:
        check_faces(pd.read_parquet(results / "face_manifest.parquet"), 0.1)
    assert "blank.mp4: no face: none in 3 frames" in str(error.value)
    assert check_faces(pd.read_parquet(results / "face_manifest.parquet"), 0.5).startswith("4 of 8 utterances")


def frame_of(*rows: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame([(*row, "") for row in rows], columns=["utterance", "path", "reason"])


def test_videos_of_another_tree_are_matched_by_name(tmp_path):
    for name in ("id1/a/00001.mp4", "id9/z/00009.mp4"):
        (tmp_path / "mp4" / name).parent.mkdir(parents=True)
        (tmp_path / "mp4" / name).touch()
    corpus = Corpus(layout="voxceleb", path="anywhere", video=str(tmp_path))
    found = find_videos(corpus, frame_of(("id1/a/00001", "x/00001.m4a"), ("id1/a/00002", "x/00002.m4a")))
    assert found["path"].tolist() == [str(tmp_path / "mp4/id1/a/00001.mp4"), ""]
    assert found["reason"].tolist() == ["", "missing: no video of this utterance"]


def test_videos_named_in_a_listing(tmp_path):
    pd.DataFrame({"path": ["a.wav", "b.wav"], "video": ["clips/a.mp4", ""]}).to_csv(tmp_path / "list.csv", index=False)
    corpus = Corpus(layout="listing", path=str(tmp_path / "list.csv"))
    found = find_videos(corpus, frame_of(("a", str(tmp_path / "a.wav")), ("b", str(tmp_path / "b.wav"))))
    assert found["path"].tolist() == [str(tmp_path / "clips/a.mp4"), ""]


NO_VIDEOS: dict[str, Callable[[Path], Corpus]] = {
    "sound alone": lambda folder: Corpus(layout="folder", path=str(folder)),
    "other names": lambda folder: Corpus(layout="folder", path=str(folder), video=str(folder)),
}


@pytest.mark.parametrize("case", NO_VIDEOS)
def test_a_corpus_without_videos_is_an_error_that_names_the_key(case, tmp_path):
    (tmp_path / "other.mp4").touch()
    with pytest.raises(InputError, match="set `video` of this corpus"):
        find_videos(NO_VIDEOS[case](tmp_path), frame_of(("a", "a.wav")))
