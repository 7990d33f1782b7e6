"""Which recordings a command line means: files, folders, standard input."""

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from selfsv.errors import InputError, printable
from selfsv.extensions import without_extension
from selfsv.prepare.listing import enumerate_corpus
from selfsv.settings.data import Corpus

STANDARD_INPUT = "-"
CHUNK = 1 << 20


class Recording(NamedTuple):
    """A file with sound."""

    name: str  # as tables call it: the path without its extension, below the folder that was named
    path: str  # where it is read; of standard input, a temporary copy
    shown: str  # as messages call it


@contextmanager
def named(arguments: list[str]) -> Iterator[list[Recording]]:
    """The recordings that `arguments` stand for: a folder for all below it, `-` for standard input, anything else for itself.

    Raises:
        InputError: a folder holds none, or standard input is asked for twice or empty.
    """
    if arguments.count(STANDARD_INPUT) > 1:
        raise InputError("standard input ('-') can be read once only")
    with tempfile.TemporaryDirectory(prefix="selfsv-") as folder:
        yield [recording for argument in arguments for recording in _named(argument, Path(folder))]


def content_of(recording: Recording) -> str:
    """Names the recording's content: the SHA-256 of its file."""
    with open(recording.path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_same_names(recordings: list[Recording]) -> None:
    """Of recordings that become rows of a table, which is searched by name.

    Raises:
        InputError: two have the same name.
    """
    seen: dict[str, str] = {}
    for recording in recordings:
        if recording.name in seen:
            raise InputError(f"{seen[recording.name]} and {recording.shown} would both be called '{recording.name}': name one of them only")
        seen[recording.name] = recording.shown


def _named(argument: str, folder: Path) -> Iterator[Recording]:
    if argument == STANDARD_INPUT:
        yield Recording("standard input", str(_spooled(folder)), "standard input")
    elif Path(argument).is_dir():
        rows = enumerate_corpus(Corpus(layout="folder", path=argument)).utterances
        for name, path in zip(rows["utterance"], rows["path"], strict=True):
            yield Recording(name, path, path)
    else:
        yield Recording(printable(without_extension(str(Path(argument)))), argument, argument)


def _spooled(folder: Path) -> Path:
    """Standard input as a file: decoders seek in it."""
    path = folder / "input"
    with open(path, "wb") as file:
        while block := sys.stdin.buffer.read(CHUNK):
            file.write(block)
        if not file.tell():
            raise InputError("standard input is empty: pipe a recording into it")
    return path
