"""The environment of the stages' processes."""

import os
import sys
from pathlib import Path

# How often a thread of OpenMP looks for work before it sleeps (libgomp, which torch computes with on the CPU). By default it
# looks for milliseconds: where anything else wants a core meanwhile, a step of training takes up to forty times as long, for
# the thread that has work waits behind one that has none. So short a watch costs a training that has its cores to itself nothing.
SPINS = "3000"


def prepare(repository: Path) -> None:
    """Let stages run as `python -m pipeline.<stage>` from any working directory, side by side.

    `python` becomes the interpreter that runs Snakemake, also where its environment is not activated; a conda environment
    that Snakemake deploys for a rule still comes first, since its activation puts it in front. A workflow that uses ours as a
    module runs its own scripts in this environment, too: nothing here may change what their imports find first.
    """
    _put_first("PATH", os.path.dirname(sys.executable))
    _put_first("PYTHONPATH", str(repository))
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def _put_first(variable: str, folder: str) -> None:
    others = os.environ.get(variable, os.defpath if variable == "PATH" else "")
    os.environ[variable] = os.pathsep.join(filter(None, [folder, others]))
