"""One audio file, whatever its format, rate and channels, to 16 kHz mono int16, or the reason why not.

libsndfile (soundfile) reads WAV, FLAC, Ogg, Opus and MP3; FFmpeg (PyAV) reads bare AAC, the sound of videos (MP4, MOV, MKV,
WebM, AVI), and what libsndfile refuses. Resampling is a polyphase filter of scipy's: it needs no start-up of Torch in a
decoding process, is exact for any pair of rates, and with the long Kaiser window below its aliases stay under -100 dB.
"""

import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, BinaryIO

import av
import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy import signal

from pipeline.media import RejectionError, container_of, opened, truncated

RATE = 16000  # Hz
FULL_SCALE = 32767
FFMPEG_ONLY = ("mp4", "aac", "matroska", "avi")  # containers that libsndfile does not know
MOST_VALUES = 1 << 28  # samples times channels of one file, 1 GiB: a few megabytes of compressed silence can hold days
BLOCK_VALUES = 1 << 22  # read at a time, so that memory grows with what a file holds and not with what its header promises
LOWEST_RATE = 1000  # Hz
WIDEST_RATIO = 50_000  # of a rate in lowest terms with 16 kHz: every real rate stays below, and filters stay small
LEAST_SAMPLES_MISSING = 0.1  # seconds by which a compressed file may fall short of its header: codec delay and padding

# The window and width of librosa's and resampy's "kaiser_best".
KAISER_BETA = 14.77
ZERO_CROSSINGS = 64
ROLLOFF = 0.9476

Samples = NDArray[np.float32]


def load_utterance(path: str, *, min_seconds: float, min_peak: float) -> NDArray[np.int16]:
    """The samples of the file at `path`: [num_samples] int16, 16 kHz, mono.

    Args:
        min_seconds: least duration, seconds.
        min_peak: least deviation from the mean, as a fraction of full scale.

    Raises:
        RejectionError: the file is missing, empty, not audio, truncated, too short, silent, or has samples that are not finite.
    """
    samples = decode(path)
    if len(samples) < min_seconds * RATE:
        raise RejectionError(f"too short: {len(samples) / RATE:.2f} s, less than {min_seconds:g} s")
    peak = float(np.max(np.abs(samples - samples.mean())))
    if peak < min_peak or peak * FULL_SCALE < 1:
        raise RejectionError(f"silent: never exceeds {peak:.2g} of full scale")
    return to_int16(samples)


def decode(path: str) -> Samples:
    """The file at `path` as 16 kHz mono, [num_samples] float32, full scale 1.

    Raises:
        RejectionError: it is missing, empty, not audio, truncated, too long, of an unusable rate, or not finite.
    """
    samples, rate = read(path)
    mono = to_mono(samples)
    if not np.isfinite(mono).all():
        raise RejectionError("not finite: holds NaN or infinite samples")
    return resample(mono, rate)


def to_int16(samples: Samples) -> NDArray[np.int16]:
    """Rounded to 16 bits, so that 16-bit files stay as they are; what goes beyond full scale is scaled down as a whole, not clipped."""
    peak = float(np.max(np.abs(samples), initial=0.0))
    return np.rint(np.clip(samples * (32768 / max(peak, 1.0)), -32768, FULL_SCALE)).astype(np.int16)


def to_mono(samples: Samples) -> Samples:
    """The mean over channels of `samples` [num_samples, channels]: [num_samples]."""
    return samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)


def resample(samples: Samples, rate: int) -> Samples:
    """`samples` [num_samples] at `rate` Hz brought to 16 kHz: [ceil(num_samples × 16000 / rate)].

    Raises:
        RejectionError: the rate is none that speech is recorded at.
    """
    if rate == RATE or not len(samples):
        return samples
    divisor = math.gcd(rate, RATE)
    up, down = RATE // divisor, rate // divisor
    if rate < LOWEST_RATE or max(up, down) > WIDEST_RATIO:
        raise RejectionError(f"unusable rate: {rate} Hz")
    return signal.resample_poly(samples, up, down, window=_low_pass(up, down)).astype(np.float32, copy=False)


@lru_cache(maxsize=32)
def _low_pass(up: int, down: int) -> NDArray[np.float32]:
    widest = max(up, down)
    return signal.firwin(2 * ZERO_CROSSINGS * widest + 1, ROLLOFF / widest, window=("kaiser", KAISER_BETA)).astype(np.float32)


# --- reading ---------------------------------------------------------------------------------------------------------


def read(path: str, start: float = 0.0, seconds: float | None = None) -> tuple[Samples, int]:
    """Samples [num_samples, channels] float32 of the file at `path`, and its rate in Hz.

    Args:
        start: where to begin, seconds; `start` and `seconds` are only as exact as the file's rate allows.
        seconds: how much to read; None: to the end.

    Raises:
        RejectionError: it is missing, empty, not audio, truncated or too long.
    """
    container = container_of(path)
    if container not in FFMPEG_ONLY:
        try:
            return _read_sndfile(path, start, seconds)
        except soundfile.LibsndfileError as error:
            if container is None:
                raise RejectionError(f"not audio: {error.error_string}") from None
    return _read_ffmpeg(path, str(container), start, seconds)


def seconds_of(path: str) -> float:
    """The duration of the file at `path` by its header, seconds.

    Raises:
        RejectionError: it is missing, empty or not audio.
    """
    if container_of(path) not in FFMPEG_ONLY:
        try:
            return _seconds_sndfile(path)
        except soundfile.LibsndfileError as error:
            raise RejectionError(f"not audio: {error.error_string}") from None
    samples, rate = read(path)
    return len(samples) / rate


def _seconds_sndfile(path: str) -> float:
    with _opened_sndfile(path) as file:
        return file.frames / file.samplerate


def _read_sndfile(path: str, start: float, seconds: float | None) -> tuple[Samples, int]:
    with _opened_sndfile(path) as file:
        if start:
            file.seek(min(round(start * file.samplerate), file.frames))
        expected = file.frames - file.tell() if seconds is None else round(seconds * file.samplerate)
        samples = _read_blocks(file, expected)
        if seconds is None and expected - len(samples) > LEAST_SAMPLES_MISSING * file.samplerate:
            raise RejectionError(truncated(expected / file.samplerate, len(samples) / file.samplerate))
        return samples, file.samplerate


@contextmanager
def _opened_sndfile(path: str) -> Iterator[soundfile.SoundFile]:
    """The file at `path`, opened here: its name, which may be no UTF-8 or "-", is only ever a name."""
    with open(path, "rb", buffering=0) as raw, soundfile.SoundFile(raw.fileno(), closefd=False) as file:
        if file.format in ("WAV", "WAVEX"):
            _refuse_truncated_wav(path)
        yield file


def _read_blocks(file: soundfile.SoundFile, expected: int) -> Samples:
    """The next `expected` samples or as many as there are, [num_samples, channels]."""
    most = BLOCK_VALUES // file.channels
    blocks: list[Samples] = []
    held = 0
    while not blocks or (len(blocks[-1]) == most and held < expected):
        blocks.append(file.read(min(expected - held, most), dtype="float32", always_2d=True))
        held += len(blocks[-1])
        _refuse_too_long(held * file.channels)
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _refuse_too_long(values: int) -> None:
    if values > MOST_VALUES:
        raise RejectionError(f"too long: more than {MOST_VALUES} samples in all channels")


def _refuse_truncated_wav(path: str) -> None:
    """libsndfile quietly reads what there is; the header of the data chunk tells how much there should be."""
    with open(path, "rb") as file:
        bytes_per_second, promised = _wav_header(file)
        held = os.fstat(file.fileno()).st_size - file.tell()
    if promised > held and bytes_per_second:
        raise RejectionError(truncated(promised / bytes_per_second, held / bytes_per_second))


def _wav_header(file: BinaryIO) -> tuple[int, int]:
    """Bytes per second and bytes promised by the data chunk, leaving `file` at its first byte; 0 where unknown.

    A WAV written to a pipe has 0 or about 2^32 for a length that was not known when the header was written.
    """
    file.seek(12)
    bytes_per_second = 0
    while len(chunk := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", chunk)
        if name == b"data":
            return bytes_per_second, size if size < 0xFFFFFF00 else 0
        body = file.tell() + size + size % 2
        if name == b"fmt ":
            bytes_per_second = int.from_bytes(file.read(16)[8:12], "little")
        file.seek(body)
    return 0, 0


def _read_ffmpeg(path: str, container: str, start: float, seconds: float | None) -> tuple[Samples, int]:
    try:
        with opened(path, container) as media:
            if not media.streams.audio:
                raise RejectionError("not audio: the file has no audio stream")
            samples, rate, promised = _decode_stream(media, media.streams.audio[0])
    except (av.FFmpegError, ValueError) as error:
        raise RejectionError(f"not audio or damaged: {getattr(error, 'strerror', None) or error}") from None
    if promised - len(samples) / rate > LEAST_SAMPLES_MISSING:
        raise RejectionError(truncated(promised, len(samples) / rate))
    first = round(start * rate)
    return samples[first : None if seconds is None else first + round(seconds * rate)], rate


def _decode_stream(media: av.container.InputContainer, stream: av.AudioStream) -> tuple[Samples, int, float]:
    """Samples [num_samples, channels], rate, and the duration that the header promises in seconds (0: none)."""
    rate = stream.rate
    if not rate:
        raise RejectionError("not audio or damaged: no sampling rate")
    exact = media.format.name != "aac"  # a bare stream's duration is estimated from its bit rate
    promised = float(stream.duration * stream.time_base) if exact and stream.duration and stream.time_base else 0.0
    as_float = av.AudioResampler(format="fltp")
    blocks: list[NDArray[Any]] = []
    values = 0
    try:
        for frame in media.decode(stream):
            for part in as_float.resample(frame):
                blocks.append(part.to_ndarray())
                values += blocks[-1].size
            _refuse_too_long(values)
    except av.FFmpegError as error:
        held = sum(block.shape[1] for block in blocks) / rate
        raise RejectionError(f"truncated or damaged: decoding stopped after {held:.2f} s ({error.strerror})") from None
    if not blocks:
        raise RejectionError("not audio or damaged: nothing could be decoded")
    return np.ascontiguousarray(np.concatenate(blocks, axis=1).T), rate, promised
