"""Locks that a killed Snakemake left behind are told from those of one that lives, on this machine or another.

Snakemake marks the files of a run in `.snakemake/locks`, and a run that was killed never takes its marks away: every later
one would refuse to start until someone says `--unlock`. Beside the marks we hold a lock of the operating system's, which ends
with the process however it ends: whoever can take it knows that the marks of this experiment belong to nobody. A file system
may have no locks: then nobody can know, the marks stay, and whoever runs Snakemake has to take them away.
"""

import sys
from pathlib import Path
from typing import IO

from selfsv.locking import UnsupportedLocksError, try_lock

WITHOUT_LOCKS = (
    "Going on without a lock. If Snakemake says that the directory is locked and no other run of this experiment lives, "
    "give the same command once with --unlock"
)


def acquire_run_lock(experiment: str, folder: Path = Path(".snakemake")) -> IO[str] | None:
    """Take the experiment's lock for as long as the returned file stays open, and remove what dead runs left of theirs.

    Returns:
        None, and nothing is removed, if another run of the experiment lives: Snakemake then finds its marks and says so. Likewise
        where there are no locks, which a message says.
    """
    folder.mkdir(exist_ok=True)
    file = open(folder / f"{experiment}.alive", "w")  # noqa: SIM115
    try:
        alone = try_lock(file)
    except UnsupportedLocksError as error:
        print(f"{error.filename}: {error.strerror}. {WITHOUT_LOCKS}", file=sys.stderr)
        alone = False
    if not alone:
        file.close()
        return None
    for mark in (folder / "locks").glob("*.lock"):
        if _is_about(mark, f"results/{experiment}/"):
            mark.unlink(missing_ok=True)
    return file


def _is_about(mark: Path, results: str) -> bool:
    return any(line.startswith(results) for line in mark.read_text(errors="replace").splitlines())
