"""Which audio files make up a corpus, and what each utterance is called.

An utterance's id is its path below the corpus's folder, without the extension and with '/' between the parts, as in
VoxCeleb's trial lists: `id00012/21Uxsk56VDQ/00001`. Nothing here opens an audio file.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import PurePath
from typing import BinaryIO

import pandas as pd
import pyarrow as pa

from pipeline.errors import InputError, printable
from pipeline.settings.data import Corpus

VIDEO_EXTENSIONS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
AUDIO_EXTENSIONS = (".aac", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav", *VIDEO_EXTENSIONS)
# Folders that VoxCeleb's archives put above the speakers' folders.
ABOVE_SPEAKERS = frozenset({"voxceleb1", "voxceleb2", "vox1", "vox2", "dev", "test", "wav", "aac", "m4a", "mp4"})
LONGEST_HEADER = 1 << 16  # bytes of a listing's first line
SCANNING_THREADS = 8  # a network file system answers several requests at once

Row = tuple[str, str, str, str, str]  # utterance, path, session, speaker, reason
COLUMNS = ["utterance", "path", "session", "speaker", "reason"]


@dataclass(frozen=True)
class CorpusFiles:
    """The files of a corpus, sorted by utterance.

    Attributes:
        utterances: columns `utterance` (unique), `path`, `session`, `reason` (why the file can be no utterance; else empty).
        speakers: columns `utterance`, `speaker`, only those that are known.
    """

    utterances: pd.DataFrame
    speakers: pd.DataFrame


def enumerate_corpus(corpus: Corpus, extensions: tuple[str, ...] = AUDIO_EXTENSIONS) -> CorpusFiles:
    """All utterances of `corpus`.

    Args:
        extensions: of the files to look for in folders; a video is as good as a recording of its sound.

    Raises:
        InputError: a folder or listing is missing or unreadable, holds no audio, does not have the layout it should have,
            or two files have the same utterance id.
    """
    paths = [corpus.path] if isinstance(corpus.path, str) else list(corpus.path)
    if not paths:
        raise InputError("a corpus has an empty `path`: name at least one folder or listing file")
    readers: dict[str, Callable[[str], Iterator[Row]]] = {
        "voxceleb": partial(_voxceleb, extensions),
        "folder": partial(_folder, extensions),
        "listing": _listing,
    }
    rows = [row for path in paths for row in readers[corpus.layout](path)]
    if not rows:
        kind = "video" if extensions == VIDEO_EXTENSIONS else "audio"
        raise InputError(f"no {kind} files ({', '.join(extensions)}) in {', '.join(paths)}: check the corpus's `path`")
    rows.sort()
    _refuse_duplicates(rows)
    _refuse_wrong_layout(corpus, rows)
    table = pd.DataFrame(rows, columns=COLUMNS).astype(pd.ArrowDtype(pa.string()))
    known = table.loc[table["speaker"] != "", ["utterance", "speaker"]].reset_index(drop=True)
    return CorpusFiles(table.drop(columns="speaker"), known)


def assign_shards(utterances: int, shards: int) -> list[int]:
    """The shard of each of `utterances` sorted utterances: `shards` contiguous blocks whose sizes differ by one at most."""
    return [index * shards // utterances for index in range(utterances)]


def _refuse_duplicates(rows: list[Row]) -> None:
    for first, second in pairwise(rows):
        if first[0] == second[0]:
            raise InputError(
                f"two files have the utterance id '{first[0]}': {first[1]} and {second[1]}; "
                "remove one of them, or give the files different ids in a listing"
            )


def _refuse_wrong_layout(corpus: Corpus, rows: list[Row]) -> None:
    if corpus.layout == "voxceleb" and all(row[4] == _WRONG_DEPTH for row in rows):
        raise InputError(
            f"{rows[0][1]} is {_WRONG_DEPTH}, nor is any other file in {corpus.path}: "
            "point `path` at the folder that holds the speakers' folders, or use `layout: folder`"
        )


# --- folders ---------------------------------------------------------------------------------------------------------

_WRONG_DEPTH = "not at {speaker}/{session}/{file} below the corpus's folder"


def _voxceleb(extensions: tuple[str, ...], path: str) -> Iterator[Row]:
    root = _speakers_folder(path)
    for relative, problem in _files_below(root, extensions):
        identity = relative.rpartition(".")[0]
        speaker, _, rest = identity.partition("/")
        session = identity.rpartition("/")[0]
        if rest.count("/") == 1:
            yield _row(identity, os.path.join(root, relative), session, speaker, problem)
        else:
            yield _row(identity, os.path.join(root, relative), session, "", problem or _WRONG_DEPTH)


def _folder(extensions: tuple[str, ...], path: str) -> Iterator[Row]:
    for relative, problem in _files_below(path, extensions):
        identity = relative.rpartition(".")[0]
        yield _row(identity, os.path.join(path, relative), identity.rpartition("/")[0], "", problem)


def _speakers_folder(path: str) -> str:
    """The folder below `path` (or `path` itself) that holds the speakers' folders, however much of the archive is above it."""
    while True:
        folders = [entry.name for entry in _scan(path) if not entry.name.startswith(".") and _is_folder(entry)]
        if not folders or not all(name.lower() in ABOVE_SPEAKERS for name in folders):
            return path
        if len(folders) > 1:
            choices = ", ".join(os.path.join(path, name) for name in sorted(folders))
            raise InputError(f"{path} holds several corpora: give the ones you want as a list in `path` ({choices})")
        path = os.path.join(path, folders[0])


def _files_below(root: str, extensions: tuple[str, ...]) -> list[tuple[str, str]]:
    """Path relative to `root` ('/' between parts) and problem (or '') of every file with one of `extensions` below `root`, unsorted.

    Hidden files and folders are skipped (`._00001.m4a`, which macOS leaves behind, is no audio). Links are followed.
    """
    found: list[tuple[str, str]] = []
    folders: list[tuple[str, str]] = []
    _sort_entries(root, "", extensions, found, folders)
    with ThreadPoolExecutor(SCANNING_THREADS) as pool:
        for below in pool.map(lambda folder: _walk(folder[0], folder[1], extensions), folders):
            found.extend(below)
    return found


def _walk(folder: str, prefix: str, extensions: tuple[str, ...]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    pending = [(folder, prefix)]
    while pending:
        _sort_entries(*pending.pop(), extensions, found, pending)
    return found


def _sort_entries(
    folder: str, prefix: str, extensions: tuple[str, ...], files: list[tuple[str, str]], folders: list[tuple[str, str]]
) -> None:
    for entry in _scan(folder):
        name = entry.name
        if name.startswith("."):
            continue
        if _is_folder(entry):
            if entry.is_symlink():
                _refuse_loop(entry.path)
            folders.append((entry.path, f"{prefix}{name}/"))
        elif name.lower().endswith(extensions):
            files.append((prefix + name, _not_a_file(entry)))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _scan(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"the corpus folder {printable(folder)} does not exist or is no folder: correct `path`") from None
    except PermissionError:
        raise InputError(f"the corpus folder {printable(folder)} may not be read: correct its permissions") from None


def _refuse_loop(path: str) -> None:
    target = os.path.realpath(path)
    if any(os.path.realpath(above) == target for above in PurePath(path).parents):
        raise InputError(f"{printable(path)} links to a folder that holds it ({printable(target)}): remove that link")


def _not_a_file(entry: os.DirEntry[str]) -> str:
    """Why there can be no recording in `entry`; else nothing."""
    try:
        if entry.is_file():
            return ""
        kind = entry.stat().st_mode
    except FileNotFoundError:
        return "missing: the link leads nowhere"
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return "not audio: a device, pipe or socket" if not stat.S_ISREG(kind) else ""


# --- listings --------------------------------------------------------------------------------------------------------


def _listing(path: str) -> Iterator[Row]:
    table = listing_table(path)
    if "path" not in table.columns:
        raise InputError(f"the listing {path} has no column `path` (its columns: {', '.join(map(str, table.columns))})")
    empty = pd.Series("", index=table.index)
    columns = [table.get(name, empty).fillna("").astype(str) for name in ("path", "utterance", "session", "speaker")]
    folder = PurePath(path).parent
    for number, (file, utterance, session, speaker) in enumerate(zip(*columns, strict=True), start=1):
        if not file:
            raise InputError(f"row {number} of the listing {path} has an empty `path`")
        identity = utterance or _identity(file)
        yield _row(identity, os.path.join(folder, file), session or identity.rpartition("/")[0], speaker, "")


def listing_table(path: str) -> pd.DataFrame:
    """The user's listing as it stands.

    Raises:
        InputError: it is missing, or neither CSV nor Parquet.
    """
    try:
        with open(path, "rb") as file:  # opened here, so that its name is only ever a name, never an address
            if path.lower().endswith((".parquet", ".pq")):
                return pd.read_parquet(file)
            return pd.read_csv(file, sep=_separator(file), dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"the listing {path} does not exist: correct `path`") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: use `layout: folder`, or name a CSV or Parquet file") from None
    except (ValueError, pa.ArrowException) as error:
        raise InputError(f"the listing {path} cannot be read as CSV (UTF-8) or Parquet: {error}") from None


def _separator(file: BinaryIO) -> str:
    """What stands between the columns, by the header: a comma, a tab or a semicolon."""
    header = file.readline(LONGEST_HEADER)
    file.seek(0)
    return next((mark for mark in ",\t;" if mark.encode() in header), ",")


def _identity(path: str) -> str:
    inside = PurePath(os.path.normpath(path).lstrip("/"))
    return str(inside.with_name(inside.stem)) if inside.name else path


# --- names -----------------------------------------------------------------------------------------------------------


def _row(utterance: str, path: str, session: str, speaker: str, reason: str) -> Row:
    """A row whose texts can all be stored; a file whose name cannot is kept, under an escaped name, with the reason."""
    problem = _unusable(utterance) or _unusable(path) or _unusable(session) or _unusable(speaker)
    if not problem:
        return utterance, path, session, speaker, reason
    return printable(utterance), printable(path), printable(session), printable(speaker), problem


def _unusable(name: str) -> str:
    if name.isprintable():
        return ""
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return "unusable name: not valid UTF-8; rename the file"
    if name.splitlines() != [name] or any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return "unusable name: holds a line break or control character; rename the file"
    return ""


def count_reasons(reasons: Iterable[str]) -> list[tuple[str, int]]:
    """How often each kind of rejection occurs (a reason up to its colon), the most frequent first."""
    return Counter(reason.partition(":")[0] for reason in reasons).most_common()
