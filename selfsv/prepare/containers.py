"""Opening a recording or video safely, or saying in one line why it cannot be used."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av

# What containers begin with, and FFmpeg's names for them.
MAGIC = (
    (b"fLaC", "flac"),
    (b"OggS", "ogg"),
    (b"RF64", "wav"),
    (b"BW64", "wav"),
    (b"RIFX", "wav"),
    (b"riff\x2e\x91\xcf\x11", "w64"),
    (b"caff", "caf"),
    (b".snd", "au"),
    (b"NIST_1A", "nistsphere"),
    (b"#!AMR", "amr"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (b"\x1a\x45\xdf\xa3", "matroska"),
    (b"FLV", "flv"),
    (b"\x00\x00\x01\xba", "mpeg"),
    (b"wvpk", "wv"),
    (b"MAC ", "ape"),
    (b"TTA1", "tta"),
    (b"\x0b\x77", "ac3"),
)
RIFF = {b"AVI ": "avi"}
QUICKTIME_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
# Streams of frames can be cut anywhere: what such a file begins with may announce nothing, and its name has to.
FRAME_STREAMS = {".mp3": "mp3", ".aac": "aac"}

ID3_HEADER = 10  # bytes


class RejectionError(Exception):
    """A file that cannot be used; the message is the manifest's `reason`: a category, a colon, the particulars."""


def container_of(path: str) -> str | None:
    """FFmpeg's name of the container that the file at `path` announces; None where it announces none.

    FFmpeg is never left to guess: some of its formats are playlists that open other files and addresses.

    Raises:
        RejectionError: the file is missing, empty, unreadable, or no regular file.
    """
    try:
        if not Path(path).is_file():
            raise RejectionError("not audio: not a regular file" if Path(path).exists() else "missing: no such file")
        with open(path, "rb") as file:
            tagged = skip_id3(file) > 0
            head = file.read(16)
    except (OSError, ValueError) as error:
        raise RejectionError(f"unreadable: {getattr(error, 'strerror', None) or error}") from None
    if not head and not tagged:
        raise RejectionError("empty: the file has no bytes")
    return _announced(head) or ("mp3" if tagged else FRAME_STREAMS.get(Path(path).suffix.lower()))


def _announced(head: bytes) -> str | None:
    if head[4:8] in QUICKTIME_ATOMS:
        return "mp4"
    if head.startswith(b"RIFF"):
        return RIFF.get(head[8:12], "wav")
    if head.startswith(b"FORM") and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    for magic, name in MAGIC:
        if head.startswith(magic):
            return name
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "aac" if head[1] & 0x06 == 0 else "mp3"  # the layer bits of an MPEG frame header are 0 in AAC only
    return None


def skip_id3(file: BinaryIO, position: int = 0) -> int:
    """Set `file` behind the ID3v2 tags that begin at `position`, and return where that is; any format may begin with them."""
    while True:
        file.seek(position)
        header = file.read(ID3_HEADER)
        if len(header) < ID3_HEADER or not header.startswith(b"ID3") or max(header[6:]) > 0x7F:
            file.seek(position)
            return position
        size = 0
        for byte in header[6:]:  # four times seven bits
            size = size << 7 | byte
        position += ID3_HEADER + size + (ID3_HEADER if header[5] & 0x10 else 0)  # the flag of a footer


@contextmanager
def opened(path: str, container: str) -> Iterator[av.container.InputContainer]:
    """The file at `path` as an FFmpeg container of the given format. The file is opened here, so its name is only ever a name."""
    with open(os.path.abspath(path), "rb") as file, opened_file(file, container) as media:
        yield media


@contextmanager
def opened_file(file: BinaryIO, container: str) -> Iterator[av.container.InputContainer]:
    """An open `file` as an FFmpeg container of the given format."""
    with av.open(file, mode="r", format=container, metadata_errors="replace") as media:
        yield media


def truncated(promised: float, held: float) -> str:
    """The reason for rejecting a file that holds fewer seconds than its header promises."""
    less, more = told_apart(held, promised)
    return f"truncated: the header promises {more} s, the file holds {less} s"


def told_apart(less: float, more: float) -> tuple[str, str]:
    """Two different numbers with two decimals, or as many as it takes to see that they differ."""
    for decimals in range(2, 9):
        texts = f"{less:.{decimals}f}", f"{more:.{decimals}f}"
        if texts[0] != texts[1]:
            break
    return texts
