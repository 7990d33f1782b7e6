"""The sound of a file as blocks of samples, whatever its format, rate and channels, or the reason why there is none.

libsndfile (soundfile) reads WAV and its relatives, FLAC and Ogg: it is fast, it seeks, and it decodes Opus at the rate that was
recorded. FFmpeg (PyAV) reads all else: MP3, AAC, AMR, WMA, the sound of videos, and what libsndfile refuses.
"""

import io
import os
from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from selfsv.prepare.containers import RejectionError, container_of, opened_file, truncated
from selfsv.prepare.headers import Extent, extent_of, inner_tags, never_filled_in, ogg_links, xing_frames

# Containers that libsndfile reads; None: one that we do not know, and it may.
SNDFILE = (None, "wav", "flac", "ogg", "aiff", "au", "caf", "nistsphere", "w64")
EXACT_DURATION = ("mp4", "avi", "ape", "tta", "wv")  # where a stream's duration is its header's: elsewhere FFmpeg may have estimated it
INDEPENDENT_FRAMES = ("mp3", "aac", "amr", "ac3")  # bare streams: a broken frame is skipped, as players do
MOST_BROKEN = 0.1  # of their frames
BLOCK_VALUES = 1 << 22  # samples times channels of a block, so that memory grows with what a file holds, not with what it promises
SECONDS_MISSING = 0.1  # by which a file may fall short of its header: codec delay, padding, and lengths that count a header
UNKNOWN_FRAMES = 1 << 36  # more than a FLAC can count: libsndfile says so of one that does not know its length, and cannot read on
NOT_IMPLEMENTED = (av.error.PatchWelcomeError, av.error.DecoderNotFoundError)
CONVERT = "convert it to WAV or FLAC, e.g. with ffmpeg"

Samples = NDArray[np.float32]


class Block(NamedTuple):
    """Consecutive samples of a file."""

    samples: Samples  # [num_samples, channels], full scale 1
    rate: int  # Hz


def read_blocks(path: str, start: float = 0.0) -> Iterator[Block]:
    """The sound of the file at `path`; rate and channels change between blocks where files of different kinds were joined.

    Args:
        start: where to begin, seconds; as exact as the rate allows.

    Raises:
        RejectionError: it is missing, empty, not audio, damaged or truncated.
    """
    container = container_of(path)
    with open(os.path.abspath(path), "rb", buffering=0) as raw:
        file: BinaryIO = raw  # type: ignore[assignment]
        links = ogg_links(file) if container == "ogg" else []
        if container == "mp3" and (tags := inner_tags(file)):
            file = _without(file, tags)
        if len(links) > 1:
            yield from _skipped(chain.from_iterable(_blocks(_copy(file, *link), container, 0.0, None) for link in links), start)
        else:
            yield from _blocks(file, container, start, None if container == "mp3" else extent_of(file, container))


def seconds_of(path: str) -> float | None:
    """The duration of the file at `path`, seconds, where its header can be trusted to know it.

    Raises:
        RejectionError: it is missing, empty, not audio or truncated.
    """
    container = container_of(path)
    if container not in SNDFILE:
        return None
    with open(os.path.abspath(path), "rb", buffering=0) as raw:
        file: BinaryIO = raw  # type: ignore[assignment]
        if container == "ogg" and len(ogg_links(file)) > 1:
            return None
        sound = _opened_sndfile(file, container)
        if sound is None:
            return None
        with sound:
            seconds = sound.frames / sound.samplerate
            _refuse_truncated(extent_of(file, container), seconds)
            return seconds


def _copy(file: BinaryIO, start: int, end: int) -> BinaryIO:
    file.seek(start)
    return io.BytesIO(file.read(end - start))


def _without(file: BinaryIO, spans: list[tuple[int, int]]) -> BinaryIO:
    """The content of `file` without `spans`."""
    edges = [0, *chain.from_iterable(spans), os.fstat(file.fileno()).st_size]
    return io.BytesIO(b"".join(_copy(file, start, end).read() for start, end in zip(edges[::2], edges[1::2], strict=True)))


def _blocks(file: BinaryIO, container: str | None, start: float, extent: Extent | None) -> Iterator[Block]:
    sound = _opened_sndfile(file, container)
    if sound is not None:
        with sound:
            if sound.seekable():
                yield from _sndfile_blocks(sound, start, extent)
            else:
                yield from _skipped(_sndfile_blocks(sound, 0.0, extent), start)
    else:
        file.seek(0)
        yield from _skipped(_ffmpeg_blocks(file, str(container), extent), start)


def _skipped(blocks: Iterator[Block], seconds: float) -> Iterator[Block]:
    """`blocks` from `seconds` after their beginning on."""
    for samples, rate in blocks:
        first = min(round(seconds * rate), len(samples))
        seconds -= first / rate
        if first < len(samples):
            yield Block(samples[first:], rate)


def _refuse_truncated(extent: Extent | None, held: float) -> None:
    """Refuse a file that has `held` seconds where its header promises more."""
    if extent is None or not extent.missing:
        return
    if not extent.held or not held:
        raise RejectionError(f"truncated: the header promises {extent.promised} bytes of sound, the file holds none")
    promised = held * extent.promised / extent.held
    if promised - held > SECONDS_MISSING:
        raise RejectionError(truncated(promised, held))


# --- libsndfile ------------------------------------------------------------------------------------------------------


def _opened_sndfile(file: BinaryIO, container: str | None) -> soundfile.SoundFile | None:
    """`file` as libsndfile sees it; None where FFmpeg is to read it."""
    if container not in SNDFILE or (container == "wav" and never_filled_in(file)):
        return None
    file.seek(0)
    try:
        sound = soundfile.SoundFile(file if isinstance(file, io.BytesIO) else file.fileno(), closefd=False)
        if sound.frames < UNKNOWN_FRAMES:
            return sound
        sound.close()
    except soundfile.LibsndfileError as error:
        if container is None:
            raise RejectionError(f"not audio: {_without_stop(error)}, or a format that is not read: {CONVERT}") from None
    return None


def _sndfile_blocks(sound: soundfile.SoundFile, start: float, extent: Extent | None) -> Iterator[Block]:
    rate, frames = sound.samplerate, sound.frames
    _refuse_truncated(extent, frames / rate)
    held = 0
    try:
        if start:
            held = sound.seek(min(round(start * rate), frames))
        read = wanted = max(1, BLOCK_VALUES // sound.channels)
        while read == wanted and held < frames:  # after a short block there is nothing more, and asking again may be an error
            samples = sound.read(min(wanted, frames - held), dtype="float32", always_2d=True)
            read = len(samples)
            held += read
            yield Block(samples, rate)
    except soundfile.LibsndfileError as error:
        raise RejectionError(f"truncated or damaged: decoding stopped after {held / rate:.2f} s ({_without_stop(error)})") from None
    if (frames - held) / rate > SECONDS_MISSING:
        raise RejectionError(truncated(frames / rate, held / rate))


def _without_stop(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).rstrip(".")


# --- FFmpeg ----------------------------------------------------------------------------------------------------------


def _ffmpeg_blocks(file: BinaryIO, container: str, extent: Extent | None) -> Iterator[Block]:
    held = 0.0

    def counted(frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
        nonlocal held
        for frame in frames:
            held += frame.samples / frame.sample_rate
            yield frame

    try:
        with opened_file(file, container) as media:
            if not media.streams.audio:
                raise RejectionError("not audio: the file has no audio stream")
            stream = media.streams.audio[0]
            promised = _promised(media, stream, container, file)
            yield from _together(counted(_frames(media, stream, container in INDEPENDENT_FRAMES)))
    except (av.FFmpegError, ValueError, OverflowError) as error:
        if held:
            raise RejectionError(f"truncated or damaged: decoding stopped after {held:.2f} s ({_text(error)})") from None
        if isinstance(error, NOT_IMPLEMENTED):
            raise RejectionError(f"not read: {_text(error)}; {CONVERT}") from None
        raise RejectionError(f"not audio or damaged: {_text(error)}; if other programs play it, {CONVERT}") from None
    if not held:
        raise RejectionError("not audio or damaged: nothing could be decoded")
    _refuse_truncated(extent, held)
    if promised - held > SECONDS_MISSING:
        raise RejectionError(truncated(promised, held))


def _text(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _promised(media: av.container.InputContainer, stream: av.AudioStream, container: str, file: BinaryIO) -> float:
    """The duration that the header promises, seconds; 0 where it promises none, or FFmpeg might have estimated it."""
    if container == "mp3":
        return _promised_by_xing(stream, file)
    if container == "matroska" and len(media.streams) == 1 and media.duration:
        return media.duration / av.time_base
    if container in EXACT_DURATION and stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return 0.0


def _promised_by_xing(stream: av.AudioStream, file: BinaryIO) -> float:
    """Of an MP3's first part; up to three frames may be delay and padding, which decoders take away."""
    position = file.tell()
    frames = xing_frames(file) or 0
    file.seek(position)
    of_a_frame = 1152 if stream.rate >= 32000 else 576  # samples, of MPEG 1 and of MPEG 2
    return max(0, frames - 3) * of_a_frame / stream.rate


def _frames(media: av.container.InputContainer, stream: av.AudioStream, tolerant: bool) -> Iterator[av.AudioFrame]:
    whole = broken = 0
    for packet in media.demux(stream):
        try:
            frames = packet.decode()
        except av.error.PatchWelcomeError:
            if not tolerant:
                raise
            continue  # a pause of AMR's, which holds no sound
        except av.FFmpegError:
            if not tolerant:
                raise
            broken += 1
            continue
        whole += len(frames)
        yield from frames
    if broken > MOST_BROKEN * (whole + broken):
        raise RejectionError(f"damaged: {broken} of {whole + broken} frames cannot be decoded")


def _together(frames: Iterator[av.AudioFrame]) -> Iterator[Block]:
    """The samples of `frames` in blocks of one rate and one number of channels each."""
    as_float, kind = av.AudioResampler(format="fltp"), None
    parts: list[NDArray[Any]] = []
    values = rate = 0
    for frame in frames:
        if (frame.sample_rate, frame.layout.name, frame.format.name) != kind:
            if parts:
                yield _block(parts, rate)
            as_float, kind = av.AudioResampler(format="fltp"), (frame.sample_rate, frame.layout.name, frame.format.name)
            parts, values, rate = [], 0, frame.sample_rate
        for part in as_float.resample(frame):
            parts.append(part.to_ndarray())
            values += parts[-1].size
        if values >= BLOCK_VALUES:
            yield _block(parts, rate)
            parts, values = [], 0
    if parts:
        yield _block(parts, rate)


def _block(parts: list[NDArray[Any]], rate: int) -> Block:
    return Block(np.ascontiguousarray(np.concatenate(parts, axis=1).T), rate)
