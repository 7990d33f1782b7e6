"""Locks of the operating system's, which end with the process however it ends."""

import fcntl
import logging
import os
from typing import IO

log = logging.getLogger(__name__)


class UnsupportedLocksError(OSError):
    """A file system has no locks: Lustre without `flock`, NFS without a lock daemon, some of FUSE's."""


def try_lock(file: IO[str]) -> bool:
    """Lock `file`, open for writing, until it is closed; False where another process, on any node, has it locked.

    Raises:
        UnsupportedLocksError: its file system cannot lock; the message names the file and says what helps.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows both, EAGAIN and EACCES
        return False
    except OSError as error:
        advice = "have it mounted with locks (Lustre: -o flock; NFS: with its lock daemon), or work in a folder elsewhere"
        raise UnsupportedLocksError(
            error.errno, f"its file system has no locks ({error.strerror}): {advice}", os.path.abspath(file.name)
        ) from None
    return True
