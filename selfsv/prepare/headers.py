"""Lengths that the headers of containers promise. libsndfile and FFmpeg report no missing part: both read what there is.

All functions take an open file and may leave it anywhere.
"""

import math
import mmap
import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from selfsv.prepare.containers import skip_id3

# A WAV that was written to a pipe has a placeholder for its length: 0x7ffff000 (sox), 0x7fffffff, 0x80000000 (arecord),
# 0xffffffff (FFmpeg), each also less the size of a header.
PLACEHOLDERS = (1 << 31, 1 << 32)
PLACEHOLDER_MARGIN = 1 << 16
MOST_MISSING = 1 << 30  # bytes; a header that promises more than this beyond the file's end was never filled in

W64_GUID_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # of every chunk but the outermost
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
ASF_HEADER = 1 << 16  # bytes looked at
SPHERE_HEADER = 1024  # bytes, of nearly all
SPHERE_FIELD = re.compile(rb"^(sample_count|channel_count|sample_n_bytes) -i (\d+)", re.MULTILINE)
SHORTENED = b"shorten"  # a compression, whose bytes say nothing about samples

ID3_TAG = re.compile(rb"ID3[\x02-\x04][\x00-\x09][\x00\x10\x20\x40\x80\xc0][\x00-\x7f]{4}")

# A page of Ogg on which a logical stream begins: version 0, "first page", a position of 0.
OGG_FIRST_PAGE = re.compile(rb"OggS\x00[\x02\x06]\x00{8}")
OGG_PAGE_HEADER = 27  # bytes, before the table of segments


class Extent(NamedTuple):
    """The bytes of encoded sound in a file."""

    promised: int
    held: int

    @property
    def unknown(self) -> bool:
        """True where the length was unknown, or never filled in, when the header was written."""
        placeholder = any(abs(self.promised - value) <= PLACEHOLDER_MARGIN for value in PLACEHOLDERS)
        return placeholder or self.promised - self.held > MOST_MISSING

    @property
    def missing(self) -> int:
        """Bytes that the file holds less than promised."""
        return 0 if self.unknown else max(0, self.promised - self.held)


def extent_of(file: BinaryIO, container: str | None) -> Extent | None:
    """Bytes that a WAV, RF64, W64, CAF, AIFF, AU, SPHERE or ASF promises and holds; None where it does not say, and for others."""
    size = os.fstat(file.fileno()).st_size
    if container in CHUNKED:
        for name, start, length in CHUNKED[container](file):
            if name in (b"data", b"SSND"):
                return Extent(length, max(0, size - start))
    if container == "nistsphere":
        return _sphere_extent(file, size)
    if container == "au":
        file.seek(4)
        start, length = struct.unpack(">II", file.read(8).ljust(8, b"\0"))
        return Extent(length, max(0, size - start))
    return _asf_extent(file, size) if container == "asf" else None


def never_filled_in(file: BinaryIO) -> bool:
    """True where a WAV says that it holds nothing, but sound follows: its recorder was cut off."""
    size = os.fstat(file.fileno()).st_size
    end, empty = 0, False
    for name, start, length in _riff_chunks(file):
        end = start + length
        empty = empty or (name == b"data" and length == 0)
    return empty and end + end % 2 not in (size, size + 1)


Chunk = tuple[bytes, int, int]  # name, where its content begins, and how many bytes it should have


def _riff_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """RIFF, its big-endian twins RIFX and FORM (AIFF), and RF64 and BW64, whose sizes above 4 GiB have a chunk of their own."""
    first = skip_id3(file)
    order = ">" if file.read(4) in (b"RIFX", b"FORM") else "<"
    file.seek(first + 12)
    large = None
    while len(head := file.read(8)) == 8:
        name, length = struct.unpack(f"{order}4sI", head)
        start = file.tell()
        if not (name.isascii() and name.decode().isprintable()):
            return
        if name == b"ds64":
            large = int.from_bytes(file.read(16)[8:], "little")
        if name == b"data" and length == 0xFFFFFFFF and large is not None:
            length = large
        yield name, start, length
        file.seek(start + length + length % 2)


def _w64_chunks(file: BinaryIO) -> Iterator[Chunk]:
    file.seek(40)
    while len(head := file.read(24)) == 24:
        length = int.from_bytes(head[16:], "little") - 24
        start = file.tell()
        if length < 0:
            return
        yield head[:4] if head[4:16] == W64_GUID_TAIL else b"", start, length
        file.seek(start + (length + 7) // 8 * 8)


def _caf_chunks(file: BinaryIO) -> Iterator[Chunk]:
    file.seek(8)
    while len(head := file.read(12)) == 12:
        name, length = struct.unpack(">4sq", head)
        start = file.tell()
        if length < 0:  # to the end of the file
            return
        yield name, start, length
        file.seek(start + length)


CHUNKED: dict[str | None, Callable[[BinaryIO], Iterator[Chunk]]] = {
    "wav": _riff_chunks,
    "aiff": _riff_chunks,
    "w64": _w64_chunks,
    "caf": _caf_chunks,
}


def _sphere_extent(file: BinaryIO, size: int) -> Extent | None:
    file.seek(0)
    head = file.read(SPHERE_HEADER)
    fields = {name: int(value) for name, value in SPHERE_FIELD.findall(head)}
    if SHORTENED in head or not fields.keys() >= {b"sample_count", b"channel_count", b"sample_n_bytes"}:
        return None
    lines = head.split(b"\n", 2)
    start = int(lines[1]) if len(lines) > 2 and lines[1].strip().isdigit() else SPHERE_HEADER
    return Extent(math.prod(fields.values()), max(0, size - start))


def _asf_extent(file: BinaryIO, size: int) -> Extent | None:
    file.seek(0)
    head = file.read(ASF_HEADER)
    place = head.find(ASF_FILE_PROPERTIES)
    promised = int.from_bytes(head[place + 40 : place + 48], "little") if place >= 0 else 0
    return Extent(promised, size) if promised else None


def inner_tags(file: BinaryIO) -> list[tuple[int, int]]:
    """Find the ID3v2 tags after the first sound of an MP3, which joined files have: where each begins and ends.

    Decoders take the pictures in such tags for broken frames.
    """
    position = skip_id3(file)
    tags: list[tuple[int, int]] = []
    with closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as content:
        for tag in ID3_TAG.finditer(content, position):
            if tag.start() >= position:
                position = skip_id3(file, tag.start())
                tags.append((tag.start(), position))
    return tags


def xing_frames(file: BinaryIO) -> int | None:
    """The number of frames that an MP3's first frame counts (Xing, Info or VBRI); None where it counts none."""
    skip_id3(file)
    frame = file.read(256)
    for name in (b"Xing", b"Info"):
        place = frame.find(name)
        if place > 0 and len(frame) >= place + 12:
            flags, frames = struct.unpack_from(">II", frame, place + 4)
            return frames if flags & 1 else None
    place = frame.find(b"VBRI")
    return int.from_bytes(frame[place + 14 : place + 18], "big") if place > 0 and len(frame) >= place + 18 else None


def ogg_links(file: BinaryIO) -> list[tuple[int, int]]:
    """Find the links of an Ogg file, more than one where files were joined: where each begins and ends."""
    with closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as content:
        starts: list[int] = []
        following = -1  # where the page after the last first page begins
        for page in OGG_FIRST_PAGE.finditer(content):
            if page.start() != following:  # else a second stream of the same link, a video's sound
                starts.append(page.start())
            table = page.start() + OGG_PAGE_HEADER
            segments = int.from_bytes(content[table - 1 : table], "little")
            following = table + segments + sum(content[table : table + segments])
        return list(pairwise([*starts, len(content)]))
