"""What the stages' processes find around them."""

import os
import sys
from pathlib import Path


def prepare(repository: Path) -> None:
    """Let stages run as `python -m pipeline.<stage>` from any working directory.

    `python` becomes the interpreter that runs Snakemake, also where its environment is not activated; a conda environment
    that Snakemake deploys for a rule still comes first, since its activation puts it in front.
    """
    _put_first("PATH", os.path.dirname(sys.executable))
    _put_first("PYTHONPATH", str(repository))


def _put_first(variable: str, folder: str) -> None:
    others = os.environ.get(variable, os.defpath if variable == "PATH" else "")
    os.environ[variable] = os.pathsep.join(filter(None, [folder, others]))
