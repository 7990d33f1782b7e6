"""Containers that promise too much, too little or nothing, joined files, and channels: what comes out is what went in."""

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from selfsv.prepare import decoding
from selfsv.prepare.containers import RejectionError, told_apart
from selfsv.prepare.decoding import RATE, decode, load_utterance, resampled, seconds_of
from selfsv.prepare.recorded import Excerpt, excerpts

DEMO = Path(__file__).parents[2] / "demo/speech/test/wav"
SECONDS = 4.0


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    """[64000] float32: four seconds of a real talker."""
    samples = np.concatenate([soundfile.read(path, dtype="float32")[0] for path in sorted(DEMO.rglob("*.opus"))[:8]])
    return samples[: round(SECONDS * RATE)] / np.abs(samples).max()


def encoded(samples: np.ndarray, container: str, codec: str, rate: int = RATE, quality: int | None = None, **options: str) -> bytes:
    """[num_samples] or [num_samples, channels] at 16 kHz, brought to `rate` and encoded by FFmpeg."""
    planes = np.ascontiguousarray(np.atleast_2d(samples.T), dtype=np.float32)
    layout = {1: "mono", 2: "stereo"}[len(planes)]
    target = io.BytesIO()
    with av.open(target, "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 64000
        if quality is not None:
            stream.codec_context.flags |= 2  # quality instead of a bit rate
            stream.codec_context.global_quality = quality * 118
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate = RATE
        resampler = av.AudioResampler(stream.codec_context.format, layout, rate, frame_size=stream.codec_context.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            part.pts = None
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return target.getvalue()


def written(samples: np.ndarray, rate: int = RATE, **how: str) -> bytes:
    """[num_samples] or [num_samples, channels], encoded by libsndfile."""
    target = io.BytesIO()
    soundfile.write(target, samples, rate, **how)
    return target.getvalue()


def placed(folder: Path, name: str, content: bytes) -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


def reason(path: str) -> str:
    with pytest.raises(RejectionError) as caught:
        load_utterance(path, min_seconds=0.5, min_peak=0.001)
    return str(caught.value)


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two recordings at the lag where it is greatest."""
    size = len(first) + len(second)
    cross = np.fft.irfft(np.fft.rfft(first, size) * np.conj(np.fft.rfft(second, size)))
    return float(np.abs(cross).max() / np.sqrt(np.sum(np.square(first)) * np.sum(np.square(second))))


# --- MP3 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("order", ["loud first", "quiet first"])
def test_an_mp3_of_variable_bit_rate_without_a_count_is_read_to_its_end(tmp_path, voice, order, rate):
    pause = np.zeros(3 * len(voice), np.float32)
    samples = np.concatenate([voice, pause] if order == "loud first" else [pause, voice])
    content = encoded(samples, "mp3", "libmp3lame", rate, quality=3, write_xing="0", id3v2_version="0")
    assert b"Xing" not in content and b"Info" not in content
    path = placed(tmp_path, "a.mp3", content)
    decoded = decode(path)
    assert len(decoded) / RATE == pytest.approx(4 * SECONDS, abs=0.2)
    assert likeness(decoded, samples) > 0.9
    assert seconds_of(path) == pytest.approx(4 * SECONDS, abs=0.2)


def test_an_mp3_that_counts_its_frames_is_found_truncated(tmp_path, voice):
    for rate in (8000, 16000, 44100):
        content = encoded(voice, "mp3", "libmp3lame", rate, quality=3)
        assert len(decode(placed(tmp_path, "a.mp3", content))) / RATE == pytest.approx(SECONDS, abs=0.1)
        assert reason(placed(tmp_path, "a.mp3", content[: len(content) * 2 // 3])).startswith("truncated: the header promises")


def test_an_mp3_cut_from_a_stream_begins_within_a_frame(tmp_path, voice):
    content = encoded(voice, "mp3", "libmp3lame", 44100, quality=3, write_xing="0", id3v2_version="0")
    assert len(decode(placed(tmp_path, "a.mp3", content[700:]))) / RATE == pytest.approx(SECONDS, abs=0.3)


def test_joined_mp3_is_read_to_its_end(tmp_path, voice):
    for tag in ("0", "3"):
        parts = [encoded(voice, "mp3", "libmp3lame", rate, quality=3, id3v2_version=tag) for rate in (44100, 44100, 16000)]
        decoded = decode(placed(tmp_path, "a.mp3", b"".join(parts)))
        assert len(decoded) / RATE == pytest.approx(3 * SECONDS, abs=0.4)
        assert likeness(decoded[-len(voice) :], voice) > 0.9


def test_pictures_between_joined_mp3_are_no_broken_sound(tmp_path, voice):
    picture = np.random.default_rng(0).bytes(300_000)
    size = bytes(len(picture) >> shift & 0x7F for shift in (21, 14, 7, 0))
    part = b"ID3\x03\x00\x00" + size + picture + encoded(voice, "mp3", "libmp3lame", 44100, quality=3, id3v2_version="0")
    assert len(decode(placed(tmp_path, "a.mp3", 3 * part))) / RATE == pytest.approx(3 * SECONDS, abs=0.4)


def test_a_stream_of_broken_frames_is_refused_and_a_few_are_skipped(tmp_path, voice):
    content = encoded(np.tile(voice, 3), "adts", "aac")
    frames = [b"\xff\xf1" + frame for frame in content.split(b"\xff\xf1")[1:]]

    def broken(frame: bytes) -> bytes:  # its header and length stay
        return frame[:7] + bytes(255 - byte for byte in frame[7:])

    few = [broken(frame) if number % 40 == 20 else frame for number, frame in enumerate(frames)]
    assert len(decode(placed(tmp_path, "a.aac", b"".join(few)))) / RATE == pytest.approx(3 * SECONDS, abs=0.6)
    many = [broken(frame) if number % 2 else frame for number, frame in enumerate(frames)]
    assert "frames cannot be decoded" in reason(placed(tmp_path, "a.aac", b"".join(many)))


# --- Ogg -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("second", [(16000, 1), (48000, 2), (8000, 1)], ids=str)
def test_joined_ogg_is_read_to_its_end_whatever_its_links(tmp_path, voice, subtype, second):
    rate, channels = second
    other = np.repeat(voice[:: RATE // rate] if rate < RATE else np.repeat(voice, rate // RATE), channels).reshape(-1, channels)
    links = [written(voice, format="OGG", subtype=subtype), written(other, rate, format="OGG", subtype=subtype)]
    path = placed(tmp_path, "joined.ogg", b"".join(links))
    decoded = decode(path)
    assert len(decoded) / RATE == pytest.approx(2 * SECONDS, abs=0.1)
    np.testing.assert_array_equal(decoded[: len(voice)], decode(placed(tmp_path, "first.ogg", links[0]))[: len(voice)])
    assert likeness(decoded[len(voice) :], voice) > 0.7
    assert seconds_of(path) == pytest.approx(2 * SECONDS, abs=0.1)
    assert len(decode(path, start=3.0, seconds=2.0)) == 2 * RATE


def test_the_same_link_three_times(tmp_path, voice):
    path = placed(tmp_path, "a.opus", 3 * written(voice, format="OGG", subtype="OPUS"))
    assert len(decode(path)) == 3 * len(voice)


# --- WAV -------------------------------------------------------------------------------------------------------------


def wav(voice: np.ndarray, data: int | None = None, riff: int | None = None) -> bytes:
    """A WAV whose lengths of `data` and RIFF may say anything."""
    content = bytearray(written(voice, format="WAV", subtype="PCM_16"))
    place = content.index(b"data") + 4
    assert struct.unpack_from("<I", content, place) == (2 * len(voice),)
    for position, value in ((place, data), (4, riff)):
        if value is not None:
            struct.pack_into("<I", content, position, value)
    return bytes(content)


@pytest.mark.parametrize(
    "length", [0x7FFFF000, 0x7FFFEFDC, 0x7FFFFF00, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFDB, 0x7F000000], ids=hex
)
def test_a_wav_from_a_pipe_has_a_placeholder_for_its_length(tmp_path, voice, length):
    path = placed(tmp_path, "a.wav", wav(voice, length, min(length + 36, 0xFFFFFFFF)))
    np.testing.assert_array_equal(decode(path), decode(placed(tmp_path, "b.wav", wav(voice))))
    assert seconds_of(path) == SECONDS


@pytest.mark.parametrize("more", [4, 44, 3000])
def test_a_wav_may_count_its_own_header(tmp_path, voice, more):
    assert len(decode(placed(tmp_path, "a.wav", wav(voice, 2 * len(voice) + more)))) == len(voice)


@pytest.mark.parametrize("riff", [0, 36])
def test_a_wav_whose_length_was_never_filled_in_is_read(tmp_path, voice, riff):
    path = placed(tmp_path, "a.wav", wav(voice, 0, riff))
    np.testing.assert_array_equal(decode(path), decode(placed(tmp_path, "b.wav", wav(voice))))
    assert seconds_of(path) == SECONDS


def test_a_wav_of_nothing_but_a_title_holds_nothing(tmp_path, voice):
    title = b"LIST" + struct.pack("<I", 40_000) + b"INFO" + bytes(39_996)
    assert reason(placed(tmp_path, "a.wav", wav(voice[:0]) + title)).startswith("too short: 0.00 s")
    assert reason(placed(tmp_path, "a.wav", wav(voice)[:44])).startswith("truncated: the header promises 128000 bytes of sound")


def test_an_hour_that_lacks_its_end_is_truncated(tmp_path, voice):
    assert reason(placed(tmp_path, "a.wav", wav(voice, 3600 * 48000 * 4))).startswith("truncated")


# --- other containers --------------------------------------------------------------------------------------------------


def rf64(voice: np.ndarray) -> bytes:
    return written(voice, format="RF64", subtype="PCM_16")


CONTAINERS = {
    "a.wav": rf64,
    "a.w64": lambda voice: written(voice, format="W64", subtype="PCM_16"),
    "a.aiff": lambda voice: written(voice, format="AIFF", subtype="PCM_16"),
    "a.au": lambda voice: written(voice, format="AU", subtype="PCM_16"),
    "a.caf": lambda voice: written(voice, format="CAF", subtype="PCM_16"),
    "a.sph": lambda voice: written(voice, format="NIST", subtype="PCM_16"),
    "a.wma": lambda voice: encoded(voice, "asf", "wmav2", 44100),
    "a.mka": lambda voice: encoded(voice, "matroska", "aac"),
    "a.tta": lambda voice: encoded(voice, "tta", "tta"),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_is_read_and_found_truncated(tmp_path, voice, name):
    content = CONTAINERS[name](voice)
    decoded = decode(placed(tmp_path, name, content))
    assert len(decoded) / RATE == pytest.approx(SECONDS, abs=0.15)
    assert likeness(decoded, voice) > 0.9
    for kept in (0.5, 0.6, 0.8):
        assert reason(placed(tmp_path, name, content[: int(kept * len(content))])).startswith("truncated")


@pytest.mark.parametrize(
    ("container", "codec"), [("3gp", "aac"), ("mp2", "mp2"), ("ac3", "ac3"), ("webm", "libopus"), ("flv", "aac"), ("wv", "wavpack")]
)
def test_a_container_without_a_reliable_length_is_read(tmp_path, voice, container, codec):
    rate = {"aac": 16000, "libopus": 48000}.get(codec, 44100)
    decoded = decode(placed(tmp_path, f"a.{container}", encoded(voice, container, codec, rate)))
    assert len(decoded) / RATE == pytest.approx(SECONDS, abs=0.2)
    assert likeness(decoded, voice) > 0.9


def test_amr_is_read_and_its_pauses_have_no_sound(tmp_path):
    rng = np.random.default_rng(0)
    speech = [b"\x3c" + rng.bytes(31) for _ in range(100)]  # frames of 20 ms at 12.2 kbit/s
    pauses = [b"\x44" + rng.bytes(5) for _ in range(50)]  # comfort noise
    decoded = decode(placed(tmp_path, "a.amr", b"#!AMR\n" + b"".join(speech + pauses + speech)))
    assert len(decoded) == pytest.approx(4.0 * RATE, abs=RATE // 50)
    assert decoded.std() > 0.001


def test_an_id3_tag_may_precede_any_format(tmp_path, voice):
    tag = b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128)
    for name, content in (("a.flac", written(voice, format="FLAC")), ("a.wav", wav(voice)), ("a.aac", encoded(voice, "adts", "aac"))):
        assert len(decode(placed(tmp_path, name, tag + content))) / RATE == pytest.approx(SECONDS, abs=0.15)


def test_a_format_that_is_not_read_says_what_to_do(tmp_path):
    shorten = b"NIST_1A\n   1024\nsample_count -i 16000\nsample_rate -i 16000\nchannel_count -i 1\nsample_n_bytes -i 2\n"
    shorten += b"sample_coding -s26 pcm,embedded-shorten-v2.00\nsample_byte_format -s2 01\nend_head\n"
    for name, content in (("a.ra", b".ra\xfd" + bytes(200)), ("a.sph", shorten.ljust(1024, b"\n") + b"ajkg\x02" + bytes(2000))):
        assert "convert it to WAV or FLAC, e.g. with ffmpeg" in reason(placed(tmp_path, name, content))


# --- FLAC of unknown length ------------------------------------------------------------------------------------------


def streamed_flac(voice: np.ndarray) -> bytes:
    content = bytearray(written(voice, format="FLAC"))
    content[21] &= 0xF0  # the number of samples: 36 bits that end here
    content[22:26] = bytes(4)
    return bytes(content)


def test_a_streamed_flac_does_not_know_its_length(tmp_path, voice):
    path = placed(tmp_path, "a.flac", streamed_flac(voice))
    assert len(decode(path)) == len(voice)
    assert seconds_of(path) == SECONDS


def test_a_streamed_flac_is_noise_of_its_true_length(tmp_path, voice):
    path = placed(tmp_path, "a.flac", streamed_flac(voice))
    assert excerpts([path], 60.0, np.random.default_rng(0), 1) == [Excerpt(path, 0.0, SECONDS)]
    np.testing.assert_array_equal(Excerpt(path, 1.0, 2.0).samples(), decode(path)[RATE : 3 * RATE])


# --- channels --------------------------------------------------------------------------------------------------------

OUT_OF_PHASE = {
    "stereo": [1, -1],
    "nearly": [1, -0.9],
    "the other one is louder": [-0.7, 1],
    "four": [1, -0.95, 1, -1],
    "5.1": [1, -1, 0.8, 0, -0.8, 0],
}


@pytest.mark.parametrize("gains", OUT_OF_PHASE.values(), ids=OUT_OF_PHASE)
@pytest.mark.parametrize("rate", [16000, 44100])
def test_channels_that_cancel_each_other_leave_the_loudest(tmp_path, voice, gains, rate):
    path = placed(tmp_path, "a.wav", written(0.9 * np.outer(voice, gains) + 0.001, rate, format="WAV", subtype="PCM_16"))
    expected = decode(placed(tmp_path, "b.wav", written(0.9 * voice, rate, format="WAV", subtype="PCM_16")))
    assert np.abs(decode(path) - expected).max() < 0.002


@pytest.mark.parametrize("gains", [[1, 1], [1, 0], [1, 0.5], [0, 0, 1, 0, 0, 0], [1, 1, 1, -1]], ids=str)
def test_channels_that_do_not_cancel_are_averaged(tmp_path, voice, gains):
    path = placed(tmp_path, "a.wav", written(0.9 * np.outer(voice, gains), format="WAV", subtype="FLOAT"))
    np.testing.assert_allclose(decode(path), 0.9 * voice * np.mean(gains), atol=1e-6)


def test_two_talkers_on_two_channels_are_told_apart(tmp_path, voice):
    talkers = np.column_stack([voice, voice[::-1]])
    for name, content in (("a.wav", written(talkers, format="WAV")), ("a.m4a", encoded(talkers, "ipod", "aac"))):
        path = placed(tmp_path, name, content)
        for channel in (1, 2):
            got = load_utterance(path, min_seconds=1, min_peak=0.001, channel=channel).astype(float)
            assert likeness(got, talkers[:, channel - 1]) > 0.95
        with pytest.raises(RejectionError, match="no such channel: 3 is asked for, and the file has 2"):
            decode(path, channel=3)


# --- lengths ---------------------------------------------------------------------------------------------------------


def test_what_counts_is_what_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    channels, seconds = 64, 265  # more than 2^28 values in all channels
    soundfile.write(path, np.zeros((0, channels)), RATE, "PCM_U8")
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"data") + 4, channels * seconds * RATE)
    path.write_bytes(content)
    with open(path, "r+b") as file:
        file.truncate(len(content) + channels * seconds * RATE)  # a hole
    assert len(decode(str(path))) == seconds * RATE


def test_the_limit_is_given_in_hours_with_advice(tmp_path, voice, monkeypatch):
    path = placed(tmp_path, "a.wav", written(np.column_stack([voice] * 2), 48000, format="WAV"))
    kept = SECONDS / 3
    monkeypatch.setattr(decoding, "LONGEST_HOURS", (kept + 0.01) / 3600)
    assert len(decode(path)) == pytest.approx(kept * RATE, abs=1)
    monkeypatch.setattr(decoding, "LONGEST_HOURS", (kept - 0.01) / 3600)
    with pytest.raises(RejectionError, match=r"^too long: more than .* hours; cut it into shorter files$"):
        decode(path)


@pytest.mark.parametrize("rate", [8000, 11025, 15999, 44100, 48000])
def test_resampling_in_blocks_leaves_no_trace(rate, monkeypatch):
    samples = np.random.default_rng(0).standard_normal(300_000).astype(np.float32)
    whole = np.concatenate(list(resampled(iter([samples]), rate)))
    monkeypatch.setattr(decoding, "RESAMPLED_AT_ONCE", 5000)
    blocks = np.concatenate(list(resampled(iter(np.array_split(samples, 97)), rate)))
    np.testing.assert_array_equal(blocks, whole)


def test_lengths_in_a_message_differ():
    assert told_apart(0.99996, 1.0) == ("0.99996", "1.00000")
    assert told_apart(2.5, 3.0) == ("2.50", "3.00")
