"""Which audio files make up a corpus, and what each utterance is called.

An utterance's id is its path below the corpus's folder, without the extension and with '/' between the parts, as in
VoxCeleb's trial lists: `id00012/21Uxsk56VDQ/00001`. Nothing here opens an audio file.
"""

import logging
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import PurePath
from typing import BinaryIO

import pandas as pd
import pyarrow as pa

from selfsv.errors import InputError, printable
from selfsv.extensions import AUDIO_EXTENSIONS, VIDEO_EXTENSIONS, described, ending
from selfsv.settings.data import Corpus

LOG = logging.getLogger("selfsv")

# Folders that VoxCeleb's archives put above the speakers' folders.
ABOVE_SPEAKERS = frozenset({"voxceleb1", "voxceleb2", "vox1", "vox2", "dev", "test", "wav", "aac", "m4a", "mp4"})
LONGEST_HEADER = 1 << 16  # bytes of a listing's first line
SCANNING_THREADS = 8  # a network file system answers several requests at once

Row = tuple[str, str, str, str, str, int]  # as COLUMNS
COLUMNS = ["utterance", "path", "session", "speaker", "reason", "channel"]
TEXTS = pd.ArrowDtype(pa.string())


@dataclass(frozen=True)
class CorpusFiles:
    """The files of a corpus, sorted by utterance.

    Attributes:
        utterances: columns `utterance` (unique), `path`, `session`, `reason` (why the file can be no utterance; else empty),
            `channel` (which one to read, from 1; 0: the mean of all), `speed` (1).
        speakers: columns `utterance`, `speaker`, only those that are known.
        left_out: how many files of the folders have which other ending.
    """

    utterances: pd.DataFrame
    speakers: pd.DataFrame
    left_out: Counter[str] = field(default_factory=Counter)


def enumerate_corpus(corpus: Corpus, extensions: tuple[str, ...] = AUDIO_EXTENSIONS) -> CorpusFiles:
    """All utterances of `corpus`. How many files were left out for their endings is logged.

    Args:
        extensions: of the files to look for in folders, unless the corpus has an `extension` of its own; a video is as good as a
            recording of its sound.

    Raises:
        InputError: a folder or listing is missing or unreadable, holds no audio, does not have the layout it should have,
            or two files have the same utterance id.
    """
    paths = _listed(corpus.path)
    if not paths:
        raise InputError("a corpus has an empty `path`: name at least one folder or listing file")
    kind = "video" if extensions == VIDEO_EXTENSIONS else "audio"
    if corpus.extension:
        extensions = tuple("." + name.lower().removeprefix(".") for name in _listed(corpus.extension))
    left_out: Counter[str] = Counter()
    readers: dict[str, Callable[[str], Iterator[Row]]] = {
        "voxceleb": partial(_voxceleb, corpus.channel, extensions, left_out),
        "folder": partial(_folder, corpus.channel, extensions, left_out),
        "listing": partial(_listing, corpus.channel),
    }
    rows = [row for path in paths for row in readers[corpus.layout](path)]
    if not rows:
        others = f"; there are {described(left_out)}" if left_out else ""
        raise InputError(f"no {kind} files ({', '.join(extensions)}) in {', '.join(paths)}{others}: check the corpus's `path`")
    if left_out:
        LOG.info("%s: left out %s", printable(", ".join(paths)), described(left_out))
    rows.sort()
    _refuse_duplicates(rows)
    _refuse_wrong_layout(corpus, rows)
    table = pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(COLUMNS[:-1], TEXTS) | {"channel": "int64"})
    known = table.loc[table["speaker"] != "", ["utterance", "speaker"]].reset_index(drop=True)
    return CorpusFiles(table.drop(columns="speaker").assign(speed=1.0), known, left_out)


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def assign_shards(utterances: int, shards: int) -> list[int]:
    """The shard of each of `utterances` sorted utterances: `shards` contiguous blocks whose sizes differ by one at most."""
    return [index * shards // utterances for index in range(utterances)]


def _refuse_duplicates(rows: list[Row]) -> None:
    twice = [(first, second) for first, second in pairwise(rows) if first[0] == second[0]]
    if not twice:
        return
    first, second = twice[0]
    endings = sorted({ending(row[1]).removeprefix(".") for pair in twice for row in pair})
    if first[1] == second[1]:
        advice = "give each row an id of its own, in the listing's column `utterance`"
    elif len(endings) > 1:
        advice = f"name the ending to read in the corpus's `extension` ({' or '.join(endings)}), or remove one file of each"
    else:
        advice = "remove one of them, or give the files different ids in a listing"
    count = len({pair[0][0] for pair in twice})
    all_of_them = f" ({count:,} ids of {len(rows) - len(twice):,} are concerned)" if count > 1 else ""
    raise InputError(f"two files have the utterance id '{first[0]}': {first[1]} and {second[1]}{all_of_them}; {advice}")


def _refuse_wrong_layout(corpus: Corpus, rows: list[Row]) -> None:
    if corpus.layout == "voxceleb" and all(row[4] == _WRONG_DEPTH for row in rows):
        raise InputError(
            f"{rows[0][1]} is {_WRONG_DEPTH}, nor is any other file in {corpus.path}: "
            "point `path` at the folder that holds the speakers' folders, or use `layout: folder`"
        )


# --- folders ---------------------------------------------------------------------------------------------------------

_WRONG_DEPTH = "not at {speaker}/{session}/{file} below the corpus's folder"


def _voxceleb(channel: int, extensions: tuple[str, ...], left_out: Counter[str], path: str) -> Iterator[Row]:
    root = _speakers_folder(path)
    for relative, problem in _files_below(root, extensions, left_out):
        identity = relative.rpartition(".")[0]
        speaker, _, rest = identity.partition("/")
        session = identity.rpartition("/")[0]
        if rest.count("/") == 1:
            yield _row(identity, os.path.join(root, relative), session, speaker, problem, channel)
        else:
            yield _row(identity, os.path.join(root, relative), session, "", problem or _WRONG_DEPTH, channel)


def _folder(channel: int, extensions: tuple[str, ...], left_out: Counter[str], path: str) -> Iterator[Row]:
    for relative, problem in _files_below(path, extensions, left_out):
        identity = relative.rpartition(".")[0]
        yield _row(identity, os.path.join(path, relative), identity.rpartition("/")[0], "", problem, channel)


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


def _files_below(root: str, extensions: tuple[str, ...], left_out: Counter[str]) -> list[tuple[str, str]]:
    """Path relative to `root` ('/' between parts) and problem (or '') of every file with one of `extensions` below `root`, unsorted.

    Hidden files and folders are skipped (`._00001.m4a`, which macOS leaves behind, is no audio). Links are followed. Other files
    are counted in `left_out` by their ending.
    """
    files, folders = _sorted_entries(root, "", extensions, left_out)
    with ThreadPoolExecutor(SCANNING_THREADS) as pool:
        for below, others in pool.map(lambda folder: _walk(folder, extensions), folders):
            files.extend(below)
            left_out.update(others)
    return files


def _walk(folder: tuple[str, str], extensions: tuple[str, ...]) -> tuple[list[tuple[str, str]], Counter[str]]:
    result: list[tuple[str, str]] = []
    left_out: Counter[str] = Counter()
    pending = [folder]
    while pending:
        files, folders = _sorted_entries(*pending.pop(), extensions, left_out)
        result.extend(files)
        pending.extend(folders)
    return result, left_out


def _sorted_entries(
    folder: str, prefix: str, extensions: tuple[str, ...], left_out: Counter[str]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The files to read in `folder`, with their problems, and its folders, with the prefix of their files."""
    files: list[tuple[str, str]] = []
    folders: list[tuple[str, str]] = []
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
        else:
            left_out[ending(name)] += 1
    return files, folders


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


def _listing(channel: int, path: str) -> Iterator[Row]:
    table = listing_table(path)
    if "path" not in table.columns:
        raise InputError(f"the listing {path} has no column `path` (its columns: {', '.join(map(str, table.columns))})")
    empty = pd.Series("", index=table.index)
    wanted = (table.get(name, empty) for name in ("path", "utterance", "session", "speaker", "channel"))
    columns = [column.astype(object).where(column.notna(), "").astype(str) for column in wanted]
    folder = PurePath(path).parent
    for number, (file, utterance, session, speaker, own_channel) in enumerate(zip(*columns, strict=True), start=1):
        if not file:
            raise InputError(f"row {number} of the listing {path} has an empty `path`")
        identity = utterance or _identity(file)
        chosen = _channel(own_channel, number, path) if own_channel.strip() else channel
        yield _row(identity, os.path.join(folder, file), session or identity.rpartition("/")[0], speaker, "", chosen)


def _channel(text: str, number: int, path: str) -> int:
    try:
        value = float(text)  # a column of a Parquet file with gaps is one of floats
        if value == int(value) >= 0:
            return int(value)
    except (ValueError, OverflowError):
        pass
    raise InputError(
        f"row {number} of the listing {path}: the channel is {printable(text)[:20]!r}; it is counted from 1 (left), and empty or 0 means "
        "the mean of all"
    )


def listing_table(path: str) -> pd.DataFrame:
    """The user's listing as it is.

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
    """The separator of the columns, by the header: a comma, a tab or a semicolon."""
    header = file.readline(LONGEST_HEADER)
    file.seek(0)
    return next((mark for mark in ",\t;" if mark.encode() in header), ",")


def _identity(path: str) -> str:
    inside = PurePath(os.path.normpath(path).lstrip("/"))
    return str(inside.with_name(inside.stem)) if inside.name else path


# --- names -----------------------------------------------------------------------------------------------------------


def _row(utterance: str, path: str, session: str, speaker: str, reason: str, channel: int) -> Row:
    """A row whose texts can all be stored; a file whose name cannot is kept, under an escaped name, with the reason."""
    problem = _unusable(utterance) or _unusable(path) or _unusable(session) or _unusable(speaker)
    if not problem:
        return utterance, path, session, speaker, reason, channel
    return printable(utterance), printable(path), printable(session), printable(speaker), problem, channel


def _unusable(name: str) -> str:
    if name.isprintable():
        return ""
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return "unusable name: not valid UTF-8; rename the file"
    if name.splitlines() != [name] or any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return "unusable name: holds a line break or control character; rename the file"
    return ""


def count_reasons(reasons: Iterable[str]) -> list[tuple[str, int]]:
    """Counts of each kind of rejection (a reason up to its colon), the most frequent first."""
    return Counter(reason.partition(":")[0] for reason in reasons).most_common()
