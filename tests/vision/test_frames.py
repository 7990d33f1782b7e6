"""Reading frames: the right ones, upright, bounded; and every bad file by its reason."""

import struct

import numpy as np
import pytest

from selfsv.prepare.containers import RejectionError
from selfsv.prepare.frames import MOST_FRAMES, read_frames, reduced
from tests.vision.conftest import write_video


def shades(count: int, height: int = 64, width: int = 96) -> list[np.ndarray]:
    """Plain frames, frame n of brightness 2 n."""
    return [np.full((height, width, 3), 2 * n, np.uint8) for n in range(count)]


def brightness(frames) -> list[int]:
    return [round(float(frame.image.mean()) / 2) for frame in frames]


@pytest.mark.parametrize(
    ("rate", "asked", "expected"), [(10, 1.0, [0, 10, 20, 30]), (10, 2.0, [0, 5, 10, 15, 20, 25, 30]), (25, 1.0, [0, 25])]
)
def test_frames_are_those_at_the_asked_times(rate, asked, expected, tmp_path):
    frames = read_frames(str(write_video(tmp_path / "a.mp4", shades(35), rate)), asked, 640)
    assert brightness(frames) == expected
    np.testing.assert_allclose([frame.time_s for frame in frames], np.array(expected) / rate, atol=1e-6)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi"])
def test_containers(suffix, tmp_path):
    assert brightness(read_frames(str(write_video(tmp_path / f"a{suffix}", shades(21), 10)), 1.0, 640)) == [0, 10, 20]


def test_a_long_video_is_looked_at_more_sparsely(tmp_path):
    seconds = 2 * MOST_FRAMES
    path = write_video(tmp_path / "a.mp4", [np.full((32, 32, 3), n % 100, np.uint8) for n in range(seconds)], 1)
    frames = read_frames(str(path), 1.0, 640)
    assert len(frames) == MOST_FRAMES
    assert frames[-1].time_s == pytest.approx(seconds - 2)


def test_large_frames_are_reduced_and_keep_their_shape():
    assert reduced(np.zeros((1080, 1920, 3), np.uint8), 640).shape == (360, 640, 3)
    small = np.zeros((100, 50, 3), np.uint8)
    assert reduced(small, 640) is small


def test_a_telephones_video_is_turned_upright(tmp_path):
    """Filmed lying down: the track header maps (x, y) to (-y, x), so what is stored at the left belongs at the top."""
    left_bright = np.zeros((64, 96, 3), np.uint8)
    left_bright[:, :48] = 255
    path = write_video(tmp_path / "a.mp4", [left_bright] * 3, 1)
    identity = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    quarter_turn = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    content = path.read_bytes()
    track = content.index(b"tkhd")
    path.write_bytes(content[:track] + content[track:].replace(identity, quarter_turn, 1))
    image = read_frames(str(path), 1.0, 640)[0].image
    assert image.shape == (96, 64, 3)
    assert image[:40].mean() > 250 and image[-40:].mean() < 5


BAD = {
    "no such file": (None, "missing"),
    "empty": (b"", "empty"),
    "text": (b"not a video at all\n" * 9, "no video"),
    "header alone": (b"\0\0\0\x20ftypisom" + b"\0" * 64, "damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_rejected_with_a_reason(name, tmp_path):
    content, reason = BAD[name]
    if content is not None:
        (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(RejectionError, match=f"^{reason}: "):
        read_frames(str(tmp_path / "a.mp4"), 1.0, 640)


def test_sound_alone_is_no_video(tmp_path):
    path = write_video(tmp_path / "a.mp4", [], 1, np.zeros(16000, np.int16))
    with pytest.raises(RejectionError, match=r"^no video: "):
        read_frames(str(path), 1.0, 640)


def test_a_truncated_video_is_rejected(tmp_path):
    rng = np.random.default_rng(1)
    path = write_video(tmp_path / "a.mkv", list(rng.integers(0, 256, (80, 64, 96, 3), dtype=np.uint8)), 10)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RejectionError, match=r"^(truncated|damaged): "):
        read_frames(str(path), 1.0, 640)


@pytest.mark.parametrize("name", ["a.flv", "a.wmv", "a.mpg", "a.3gp"])
def test_videos_of_other_containers_are_read(name, tmp_path):
    frames = [np.full((48, 64, 3), 40 * second, np.uint8) for second in range(5) for _ in range(25)]
    found = read_frames(str(write_video(tmp_path / name, frames, 25)), 1.0, 640)
    assert [round(float(frame.image.mean())) for frame in found] == pytest.approx([0, 40, 80, 120, 160], abs=3)
