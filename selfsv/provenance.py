"""Which code made an artifact."""

import os
import subprocess
from functools import cache
from pathlib import Path

from selfsv import __version__

SECONDS = 10  # git looks at every file, which takes long on a slow network file system


@cache
def code_version() -> str:
    """The version and, in a repository, the commit and whether there are edits after it: `0.1.0 (e4c88a5-dirty)`."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():  # installed; a repository further up is someone else's
        return __version__
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        described = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__} ({described.stdout.strip()})"
