"""Decoding against files written by libsndfile and FFmpeg, and against everything that is no usable audio."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from scipy import signal

from selfsv.prepare.containers import RejectionError
from selfsv.prepare.decoding import RATE, decode, load_utterance, resample, seconds_of, to_int16

DEMO = Path(__file__).parents[2] / "demo/speech/test/wav"
TONE_HZ = 1000.0
AMPLITUDE = 0.25


def tone(rate: int, seconds: float = 2.0, channels: int = 1) -> np.ndarray:
    """[num_samples, channels] float64."""
    wave = AMPLITUDE * np.sin(2 * np.pi * TONE_HZ * np.arange(round(rate * seconds)) / rate)
    return np.repeat(wave[:, None], channels, axis=1)


def write_ffmpeg(path: Path, codec: str, rate: int, channels: int, container: str, options: dict[str, str] | None = None) -> None:
    samples = tone(rate, channels=channels).astype(np.float32).T
    layout = "mono" if channels == 1 else "stereo"
    with av.open(str(path), "w", format=container, options=options or {}) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
        frame.rate = rate
        file.mux(list(stream.encode(frame)) + list(stream.encode(None)))


def load(path: Path) -> np.ndarray:
    return load_utterance(str(path), min_seconds=1.0, min_peak=0.001)


def reason(path: Path | str) -> str:
    with pytest.raises(RejectionError) as caught:
        load(Path(path))
    return str(caught.value)


def assert_is_the_tone(samples: np.ndarray) -> None:
    """Two seconds at 16 kHz, the same frequency and level as went in."""
    assert samples.dtype == np.int16
    assert abs(len(samples) - 2 * RATE) <= 0.2 * RATE
    middle = samples[RATE // 2 : RATE // 2 + RATE].astype(float) / 32768
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(RATE)))
    assert np.argmax(spectrum) == TONE_HZ  # bins are 1 Hz wide
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(AMPLITUDE, rel=0.03)


@pytest.mark.parametrize(
    ("name", "rate", "channels", "subtype"),
    [
        ("a.wav", 16000, 1, "PCM_16"),
        ("a.wav", 8000, 2, "PCM_U8"),
        ("a.wav", 44100, 2, "PCM_24"),
        ("a.wav", 48000, 6, "FLOAT"),
        ("a.wav", 11025, 1, "ALAW"),
        ("a.flac", 8000, 2, "PCM_16"),
        ("a.ogg", 8000, 2, "VORBIS"),
        ("a.ogg", 44100, 2, "VORBIS"),
        ("a.opus", 8000, 2, "OPUS"),
        ("a.opus", 48000, 1, "OPUS"),
        ("a.mp3", 8000, 2, "MPEG_LAYER_III"),
        ("a.mp3", 44100, 2, "MPEG_LAYER_III"),
    ],
)
def test_formats_of_libsndfile(tmp_path: Path, name: str, rate: int, channels: int, subtype: str) -> None:
    container = {"opus": "OGG", "ogg": "OGG", "mp3": "MP3"}.get(name[2:])
    soundfile.write(tmp_path / name, tone(rate, channels=channels), rate, subtype, format=container)
    assert_is_the_tone(load(tmp_path / name))
    assert seconds_of(str(tmp_path / name)) == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "channels", "container"),
    [
        ("a.m4a", "aac", 16000, 1, "ipod"),
        ("a.m4a", "aac", 8000, 2, "ipod"),
        ("a.mp4", "aac", 44100, 2, "mp4"),
        ("a.m4a", "alac", 44100, 2, "ipod"),
        ("a.aac", "aac", 48000, 2, "adts"),
        ("a.wav", "aac", 16000, 1, "ipod"),  # a wrong name is no obstacle
    ],
)
def test_formats_of_ffmpeg(tmp_path: Path, name: str, codec: str, rate: int, channels: int, container: str) -> None:
    if codec == "alac":
        soundfile.write(tmp_path / "pcm.wav", tone(rate, channels=channels), rate, "PCM_16")
        transcode_alac(tmp_path / "pcm.wav", tmp_path / name)
    else:
        write_ffmpeg(tmp_path / name, codec, rate, channels, container)
    assert_is_the_tone(load(tmp_path / name))
    assert seconds_of(str(tmp_path / name)) == pytest.approx(2.0, abs=0.2)


def transcode_alac(source: Path, target: Path) -> None:
    with av.open(str(source)) as opened, av.open(str(target), "w", format="ipod") as file:
        stream = file.add_stream("alac", rate=opened.streams.audio[0].rate, layout="stereo")
        for frame in opened.decode(audio=0):
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def test_a_real_recording_matches_soundfile() -> None:
    path = sorted(DEMO.rglob("*.opus"))[0]
    samples, rate = soundfile.read(path)
    assert rate == RATE
    assert np.abs(load(path) - samples / max(1.0, np.abs(samples).max()) * 32768).max() <= 1


def test_16_bit_16_khz_mono_stays_as_it_is(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 2 * RATE, dtype=np.int16)
    samples[:2] = -32768, 32767
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    np.testing.assert_array_equal(load(tmp_path / "a.wav"), samples)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = tone(RATE)[:, 0]
    soundfile.write(tmp_path / "a.wav", np.stack([left, np.zeros_like(left)], axis=1), RATE, "FLOAT")
    np.testing.assert_allclose(decode(str(tmp_path / "a.wav")), left / 2, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 24000, 32000, 44100, 48000, 96000, 15999])
def test_resampling_agrees_with_an_ideal_one(rate: int) -> None:
    rng = np.random.default_rng(0)
    # A second's worth of a periodic signal below 0.85 of the lower Nyquist frequency: the FFT resamples it exactly.
    highest = int(0.85 * min(rate, RATE) / 2)
    phases, frequencies = rng.uniform(0, 2 * np.pi, 20), rng.integers(50, highest, 20)

    def wave(at: int) -> np.ndarray:
        time = np.arange(3 * at) / at
        return np.sum(np.cos(2 * np.pi * frequencies[:, None] * time + phases[:, None]), axis=0) / 20

    ideal, got = wave(RATE), resample(wave(rate).astype(np.float32), rate)
    middle = slice(RATE, 2 * RATE)
    assert len(got) == pytest.approx(3 * RATE, abs=1)
    error = np.sqrt(np.mean((got[middle] - ideal[middle]) ** 2) / np.mean(ideal[middle] ** 2))
    assert 20 * np.log10(error) < -80


def test_what_16_khz_cannot_hold_is_gone_not_folded() -> None:
    high = np.sin(2 * np.pi * 10000 * np.arange(2 * 44100) / 44100).astype(np.float32)
    folded = resample(high, 44100)[4000:-4000]
    assert 20 * np.log10(np.abs(folded).max()) < -90


def test_resampling_of_speech_agrees_with_scipys_fft() -> None:
    samples, _ = soundfile.read(sorted(DEMO.rglob("*.opus"))[0])
    samples = samples[: RATE * 3]
    at_48k = signal.resample(samples, len(samples) * 3).astype(np.float32)
    got = resample(at_48k, 48000)
    difference = (got - samples)[2000:-2000]
    assert np.sqrt(np.mean(difference**2) / np.mean(samples**2)) < 0.05  # they part ways above 7.5 kHz


def test_loud_float_samples_are_scaled_not_clipped() -> None:
    wave = (tone(RATE)[:, 0] * 40).astype(np.float32)
    assert np.corrcoef(wave, to_int16(wave))[0, 1] > 0.9999
    assert np.abs(to_int16(wave)).max() == 32767


def test_part_of_a_file(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE)
    soundfile.write(tmp_path / "a.wav", wave, RATE, "FLOAT")
    samples = decode(str(tmp_path / "a.wav"), start=1.0, seconds=0.5)
    np.testing.assert_allclose(samples, wave[RATE : RATE * 3 // 2], atol=1e-6)


# --- what must be rejected -------------------------------------------------------------------------------------------


def test_missing_and_empty(tmp_path: Path) -> None:
    (tmp_path / "zero.wav").touch()
    (tmp_path / "folder.wav").mkdir()
    assert reason(tmp_path / "gone.wav").startswith("missing")
    assert reason(tmp_path / "zero.wav").startswith("empty")
    assert reason(tmp_path / "folder.wav").startswith("not audio")


@pytest.mark.parametrize("name", ["a.wav", "a.m4a", "a.mp3", "a.opus"])
@pytest.mark.parametrize(
    "content",
    [
        b"This is a text file, whatever it is called.\n" * 100,
        b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n",  # a playlist, which FFmpeg would follow
        b"RIFF\x24\x00\x00\x00WAVE",
        b"RIFF",
        b"OggS" + bytes(200),
        b"ID3\x03\x00" + bytes(300),
        b"\x00\x00\x00\x20ftypM4A " + bytes(500),
        b"\xff\xf1" + bytes(100),
        bytes(range(256)) * 20,
    ],
)
def test_not_audio_whatever_it_is_called(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert reason(tmp_path / name).startswith("not audio")


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize("kept", [0.3, 0.94])
def test_a_truncated_wav_is_noticed(tmp_path: Path, subtype: str, kept: float) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(RATE), RATE, subtype)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    assert reason(path).startswith("truncated: the header promises 2.00 s")
    with pytest.raises(RejectionError, match="truncated"):
        seconds_of(str(path))


def test_a_wav_written_to_a_pipe_is_not_truncated(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(RATE), RATE, "PCM_16")
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", 0xFFFFFFFF)
    data[4:8] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(bytes(data))
    assert_is_the_tone(load(path))


def test_a_wav_with_other_chunks_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(RATE), RATE, "PCM_16")
    data = path.read_bytes()
    at = data.index(b"fmt ")
    extra = b"LIST" + struct.pack("<I", 5) + b"abcde\x00"
    data = data[:at] + extra + data[at:] + b"id3 " + struct.pack("<I", 4) + b"tail"
    path.write_bytes(data)
    assert_is_the_tone(load(path))


def test_a_truncated_flac_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE), RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert reason(path).split(":")[0] in ("truncated", "truncated or damaged", "not audio")


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}])
def test_a_truncated_m4a_is_noticed(tmp_path: Path, options: dict[str, str]) -> None:
    path = tmp_path / "a.m4a"
    write_ffmpeg(path, "aac", RATE, 1, "ipod", options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert reason(path).startswith("truncated" if options else "not audio or damaged")


def test_video_without_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        file.mux(list(stream.encode(frame)) + list(stream.encode(None)))
    assert reason(path) == "not audio: the file has no audio stream"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(tmp_path: Path, bad: float) -> None:
    wave = tone(RATE)[:, 0]
    wave[1234] = bad
    soundfile.write(tmp_path / "a.wav", wave, RATE, "FLOAT")
    assert reason(tmp_path / "a.wav").startswith("not finite")


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.99])
def test_too_short(tmp_path: Path, seconds: float) -> None:
    soundfile.write(tmp_path / "a.wav", tone(44100, seconds), 44100)
    assert reason(tmp_path / "a.wav").startswith("too short")


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_silence_also_with_an_offset(tmp_path: Path, level: float) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(2 * RATE, level), RATE, "FLOAT")
    assert reason(tmp_path / "a.wav").startswith("silent")


def test_quiet_is_not_silent(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(RATE) * 0.01, RATE)
    assert len(load(tmp_path / "a.wav")) == 2 * RATE


@pytest.mark.parametrize("name", ["-", "-rf.wav", "$(id) `id`.wav", "a b'\".wav", "concat:a.wav", "http:a.wav"])
def test_names_are_only_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("plain.wav", tone(RATE), RATE)
    Path("plain.wav").rename(name)
    assert_is_the_tone(load_utterance(name, min_seconds=1, min_peak=0.001))
    write_ffmpeg(tmp_path / "plain.m4a", "aac", RATE, 1, "ipod")
    Path("plain.m4a").rename(name)
    assert_is_the_tone(load_utterance(name, min_seconds=1, min_peak=0.001))


def test_damage_at_random_never_crashes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_ffmpeg(tmp_path / "a.m4a", "aac", RATE, 1, "ipod")
    soundfile.write(tmp_path / "a.flac", tone(RATE), RATE)
    soundfile.write(tmp_path / "a.opus", tone(RATE), RATE, "OPUS", format="OGG")
    for name in ("a.m4a", "a.flac", "a.opus"):
        whole = np.frombuffer((tmp_path / name).read_bytes(), np.uint8)
        for _ in range(15):
            broken = whole.copy()
            broken[rng.integers(len(whole), size=20)] = rng.integers(256, size=20)
            (tmp_path / f"broken-{name}").write_bytes(broken[: rng.integers(20, len(whole))].tobytes())
            try:
                samples = load(tmp_path / f"broken-{name}")
            except RejectionError:
                continue
            assert samples.dtype == np.int16
