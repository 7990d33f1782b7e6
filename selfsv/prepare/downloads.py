"""What may be fetched without asking anyone: VoxCeleb1's trial lists, MUSAN, RIRS_NOISES. VoxCeleb's audio may not.

A file that breaks off goes on from where it is at the next call. Nothing takes its final name before its checksum, or its number of
trials, is what it should be.
"""

import hashlib
import http.client
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from selfsv.errors import InputError
from selfsv.progress import progress
from selfsv.scoring.trials import read_trials

CHUNK = 1 << 20
SECONDS = 60.0  # without a byte
LISTS = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta/"
OPENSLR = "https://www.openslr.org/resources/"


class Source(NamedTuple):
    """Where something is, and how to know that it is whole."""

    url: str
    md5: str = ""  # of an archive
    folder: str = ""  # that an archive unpacks to
    trials: int = 0  # of a list, which its owner gives no checksum of


SOURCES = {
    "vox1_o": Source(LISTS + "veri_test2.txt", trials=37_611),
    "vox1_e": Source(LISTS + "list_test_all2.txt", trials=579_818),
    "vox1_h": Source(LISTS + "list_test_hard2.txt", trials=550_894),
    # As they were before wrong labels were removed; the paper's are these.
    "vox1_o_original": Source(LISTS + "veri_test.txt", trials=37_720),
    "vox1_e_original": Source(LISTS + "list_test_all.txt", trials=581_480),
    "vox1_h_original": Source(LISTS + "list_test_hard.txt", trials=552_536),
    "musan": Source(OPENSLR + "17/musan.tar.gz", md5="0c472d4fc0c5141eca47ad1ffeb2a7df", folder="musan"),
    "rirs_noises": Source(OPENSLR + "28/rirs_noises.zip", md5="e6f48e257286e05de56413b4779d8ffb", folder="RIRS_NOISES"),
}


def fetch(source: Source, into: Path) -> Path:
    """Fetch and, if it is an archive, unpack it; where it is then. What is there already stays.

    Raises:
        InputError: the address does not answer, or gives something else.
    """
    name = source.url.rsplit("/", 1)[1]
    place = into / (source.folder or name)
    if place.exists():
        return place
    into.mkdir(parents=True, exist_ok=True)
    partial = into / f".{name}.partial"
    _download(source.url, partial)
    _require_whole(source, partial)
    if source.folder:
        _unpack(partial, into / f".{source.folder}.unpacking", source, place)
        partial.unlink()
    else:
        partial.replace(place)
    return place


def _download(url: str, partial: Path) -> None:
    """What is missing of the file at `url`."""
    known = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={known}-"} if known else {})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer, open(partial, "ab") as file:
            if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
                file.truncate(0)  # the whole file comes
            length = answer.headers.get("Content-Length")
            total = -(-int(length) // CHUNK) if length else None
            for part in progress(_parts(answer), total, partial.name.strip(".").removesuffix(".partial"), "MB"):
                file.write(part)
            file.flush()
            end = file.tell() if length is None else int(length) + (known if answer.status == http.HTTPStatus.PARTIAL_CONTENT else 0)
            if file.tell() < end:  # `read` takes a connection that breaks off for the end
                raise ConnectionError(f"it broke off {end - file.tell():,} bytes before the end")
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # it is here already
        raise InputError(f"{url} cannot be fetched: {error}") from None
    except (OSError, http.client.HTTPException) as error:
        here = partial.stat().st_size if partial.exists() else 0
        raise InputError(f"{url} cannot be fetched: {error}. {here:,} bytes are here; the next call goes on from there") from None


def _parts(answer: BinaryIO) -> Iterator[bytes]:
    while part := answer.read(CHUNK):
        yield part


def _require_whole(source: Source, partial: Path) -> None:
    """Raise where the file is another one, and remove it: going on from it would not mend it."""
    if source.md5:
        with open(partial, "rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != source.md5:
            partial.unlink()
            raise InputError(f"{source.url}: its MD5 is {found}, not {source.md5}. It was removed: fetch it again, or by hand")
    elif (count := len(_trials(source, partial))) != source.trials:
        partial.unlink()
        raise InputError(f"{source.url} has {count:,} trials, not {source.trials:,}. It was removed: fetch it again, or by hand")


def _trials(source: Source, partial: Path) -> list[str]:
    try:
        return read_trials(partial).enroll
    except InputError as error:
        partial.unlink()
        raise InputError(f"{source.url} is no trial list: {error}") from None


def _unpack(archive: Path, beside: Path, source: Source, place: Path) -> None:
    """Unpack into a folder beside, from which the wanted one moves to its place.

    Raises:
        InputError: a member would be written elsewhere, or the folder is not in the archive.
    """
    shutil.rmtree(beside, ignore_errors=True)
    try:
        if source.url.endswith(".zip"):
            with zipfile.ZipFile(archive) as file:
                file.extractall(beside)  # leaves out what leads elsewhere
        else:
            with tarfile.open(archive) as file:
                file.extractall(beside, filter="data")  # refuses what leads elsewhere
    except (tarfile.TarError, zipfile.BadZipFile) as error:
        raise InputError(f"{source.url} cannot be unpacked: {error}") from None
    if not (beside / source.folder).is_dir():
        raise InputError(f"{source.url} holds no folder {source.folder}")
    (beside / source.folder).replace(place)
    shutil.rmtree(beside)
