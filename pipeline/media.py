"""Opening a recording or video safely, or saying in one line why it cannot be used."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

# What containers begin with, and FFmpeg's names for them.
MAGIC = ((b"fLaC", "flac"), (b"OggS", "ogg"), (b"ID3", "mp3"), (b"\x1a\x45\xdf\xa3", "matroska"))
RIFF = {b"AVI ": "avi"}
QUICKTIME_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


class RejectionError(Exception):
    """A file that cannot be used; the message is the manifest's `reason`: a category, a colon, the particulars."""


def container_of(path: str) -> str | None:
    """FFmpeg's name of the container that the first bytes of the file at `path` announce; None where they announce none.

    FFmpeg is never left to guess: some of its formats are playlists that open other files and addresses.

    Raises:
        RejectionError: the file is missing, empty, unreadable, or no regular file.
    """
    head = _head(path)
    if not head:
        raise RejectionError("empty: the file has no bytes")
    if head[4:8] in QUICKTIME_ATOMS:
        return "mp4"
    if head.startswith(b"RIFF"):
        return RIFF.get(head[8:12], "wav")
    for magic, name in MAGIC:
        if head.startswith(magic):
            return name
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "aac" if head[1] & 0x06 == 0 else "mp3"  # the layer bits of an MPEG frame header are 0 in AAC only
    return None


def _head(path: str) -> bytes:
    try:
        if not Path(path).is_file():
            raise RejectionError("not audio: not a regular file" if Path(path).exists() else "missing: no such file")
        with open(path, "rb") as file:
            return file.read(16)
    except (OSError, ValueError) as error:
        raise RejectionError(f"unreadable: {getattr(error, 'strerror', None) or error}") from None


@contextmanager
def opened(path: str, container: str) -> Iterator[av.container.InputContainer]:
    """The file at `path` as an FFmpeg container of the given format. The file is opened here, so its name is only ever a name."""
    with open(os.path.abspath(path), "rb") as file, av.open(file, mode="r", format=container, metadata_errors="replace") as media:
        yield media


def truncated(promised: float, held: float) -> str:
    """The reason for rejecting a file that holds fewer seconds than its header promises."""
    return f"truncated: the header promises {promised:.2f} s, the file holds {held:.2f} s"
