"""Locks that a killed Snakemake left behind are told from those of one that lives, on this machine or another.

Snakemake marks the files of a run in `.snakemake/locks`, and a run that was killed never takes its marks away: every later
one would refuse to start until someone says `--unlock`. Beside the marks we hold a lock of the operating system's, which ends
with the process however it ends: whoever can take it knows that the marks of this experiment belong to nobody.
"""

import fcntl
from pathlib import Path
from typing import IO


def claim(experiment: str, folder: Path = Path(".snakemake")) -> IO[str] | None:
    """Take the experiment's lock for as long as the returned file stays open, and remove what dead runs left of theirs.

    Returns:
        None, and nothing is removed, if another run of the experiment lives: Snakemake then finds its marks and says so.
    """
    folder.mkdir(exist_ok=True)
    file = open(folder / f"{experiment}.alive", "w")  # noqa: SIM115
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    for mark in (folder / "locks").glob("*.lock"):
        if _is_about(mark, f"results/{experiment}/"):
            mark.unlink(missing_ok=True)
    return file


def _is_about(mark: Path, results: str) -> bool:
    return any(line.startswith(results) for line in mark.read_text(errors="replace").splitlines())
