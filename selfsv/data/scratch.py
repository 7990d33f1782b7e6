"""Copies of packed files on a machine's own disk, for what reads them at random, many times over."""

import hashlib
import logging
import os
import shutil
import socket
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from selfsv.errors import InputError
from selfsv.locking import UnsupportedLocksError, try_lock
from selfsv.writing import write_atomically

LOG = logging.getLogger("selfsv")
KEY = "config key 'runtime.scratch'"
SPARE_BYTES = 1 << 30  # stay free: others use the disk, too
CHUNK = 1 << 24
LOCK_SECONDS = 0.5  # between tries
GB = 1e9


def local_copies(paths: Sequence[Path], scratch: str | None) -> list[Path]:
    """The copies of files in a folder of this machine, made where they are missing; where they do not fit, the files themselves.

    A copy is named after the place, size and time of change of its original: a changed file gets another one, and the old one goes. It is
    whole or not there. Of several processes of this machine one copies, and the others wait for it. Copies stay for later jobs.

    Args:
        paths: of the files.
        scratch: the folder; variables in it, such as `$TMPDIR`, are those of this machine. None: the files stay where they are.

    Raises:
        InputError: this machine has no such folder, it has no locks, or what should be our part of it is not ours alone.
    """
    if scratch is None:
        return [*paths]
    folder = _own_part(Path(os.path.expandvars(scratch)))
    copies = {path: folder / _name(path) for path in paths}
    if _missing(copies):
        with _alone(folder):
            missing = _missing(copies)  # another process may have copied meanwhile
            if missing and not _copied(missing, folder):
                return [*paths]
    return [*copies.values()]


def _own_part(scratch: Path) -> Path:
    """Our own folder in the folder `scratch`: files that others can write there are not to be trusted."""
    if not scratch.is_dir():
        raise InputError(f"{KEY}: {scratch} is no folder on {socket.gethostname()}: name one that every node has, or leave the key empty")
    folder = scratch / f"selfsv-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise InputError(f"{KEY}: {folder} on {socket.gethostname()} is not yours alone: remove it, or name another folder")
    return folder


def _name(path: Path) -> str:
    """The name of the copy of the file at `path`, with `_place` in front."""
    status = path.stat()
    return f"{_place(path)}-{status.st_size}-{status.st_mtime_ns}{path.suffix}"


def _place(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]


def _missing(copies: dict[Path, Path]) -> dict[Path, Path]:
    """The originals whose copies are not there whole."""
    return {path: copy for path, copy in copies.items() if not copy.is_file() or copy.stat().st_size != path.stat().st_size}


def _copied(missing: dict[Path, Path], folder: Path) -> bool:
    """Copy where there is room, in place of outdated copies; whether there is."""
    outdated = [old for path in missing for old in folder.glob(f"{_place(path)}-*")]
    for old in [*outdated, *folder.glob(".*.partial")]:  # the rest of a killed process: whoever copies holds the lock
        old.unlink()
    size, start = sum(path.stat().st_size for path in missing), time.monotonic()
    if size + SPARE_BYTES > shutil.disk_usage(folder).free:
        LOG.warning("%s has no room for %.1f GB: the packed audio is read where it is, which may be slower", folder, size / GB)
        return False
    for path, copy in missing.items():
        with open(path, "rb") as original:
            write_atomically(copy, partial(shutil.copyfileobj, original, length=CHUNK))
    LOG.info("copied %.3f GB to %s in %.0f s", size / GB, folder, time.monotonic() - start)
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process that asks for the same gets in meanwhile."""
    with open(folder / "lock", "w") as file:
        try:
            while not try_lock(file):
                time.sleep(LOCK_SECONDS)
        except UnsupportedLocksError as error:
            raise InputError(f"{KEY}: {error.filename}: {error.strerror}") from None
        yield
