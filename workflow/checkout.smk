"""The repository on this machine, for `workflow/Snakefile`."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError


def repository_of(folder: Any) -> Path:
    """The repository on this machine, whose `workflow` is the folder of this file: a path, or Snakemake's place in a clone."""
    if os.path.isdir(str(folder)):
        return Path(str(folder)).parent
    if not hasattr(folder, "hosted_repo"):
        raise WorkflowError("this workflow runs from a checkout: name the path of its Snakefile, or use github(...) or gitlab(...)")
    clone = folder.hosted_repo.repo_clone
    commit = git("-C", clone, "rev-parse", "--verify", f"{folder.ref}^{{commit}}")
    checkout = Path(f"{clone}-{commit}")
    if not checkout.is_dir():
        temporary = tempfile.mkdtemp(prefix=f"{checkout}.")
        git("clone", "--quiet", "--shared", "--no-checkout", clone, temporary)
        git("-C", temporary, "checkout", "--quiet", "--detach", commit)
        try:
            os.rename(temporary, checkout)
        except OSError:  # another process was faster
            shutil.rmtree(temporary)
    return checkout


def git(*arguments: Any) -> str:
    done = subprocess.run(["git", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise WorkflowError(f"git could not check out the workflow: {done.stderr.strip()}")
    return done.stdout.strip()
