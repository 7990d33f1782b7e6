"""The environment of the stages' processes."""

import os
import sys
from collections.abc import Collection
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

from selfsv.errors import printable

# How often a thread of OpenMP looks for work before it sleeps (libgomp, which torch computes with on the CPU). By default it
# looks for milliseconds: where anything else wants a core meanwhile, a step of training takes up to forty times as long, for
# the thread that has work waits behind one that has none. So short a watch costs a training that has its cores to itself nothing.
SPINS = "3000"


BINDS = ("APPTAINER_BIND", "SINGULARITY_BIND")  # folders to bind: Apptainer reads the second where the first is not set


def image_of(container: str | None, methods: Collection[DeploymentMethod]) -> str | None:
    """The image that jobs run in; None for none.

    Args:
        container: as the settings name it: a file, relative to the working directory, or an address that Apptainer can pull from.
        methods: as `--sdm` names them. Without `apptainer`, there is no image.

    Raises:
        WorkflowError: the file does not exist.
    """
    if container is None or DeploymentMethod.APPTAINER not in methods:
        return None
    if "://" not in container and not Path(container).is_file():
        raise WorkflowError(
            f"config key 'runtime.container': {printable(container)} does not exist. "
            "Build it: apptainer build selfsv.sif containers/selfsv.def (docs/containers.md)"
        )
    return container


def prepare(repository: Path, image: str | None) -> None:
    """Let stages run as `python -m pipeline.<stage>` from any working directory, side by side.

    `python` becomes the interpreter that runs Snakemake, also where its environment is not activated; a conda environment
    that Snakemake deploys for a rule still comes first, since its activation puts it in front. A workflow that uses ours as a
    module runs its own scripts in this environment, too: nothing here may change what their imports find first.

    Args:
        image: that jobs run in, with the stages' code from the repository; None for none.
    """
    _put_first("PATH", os.path.dirname(sys.executable))
    _put_first("PYTHONPATH", str(repository))
    if image:  # Snakemake binds the working directory alone, and the repository may be elsewhere
        bound = next(filter(None, map(os.environ.get, BINDS)), None)
        os.environ.update(dict.fromkeys(BINDS, ",".join(filter(None, [bound, str(repository)]))))
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def _put_first(variable: str, folder: str) -> None:
    others = os.environ.get(variable, os.defpath if variable == "PATH" else "")
    os.environ[variable] = os.pathsep.join(filter(None, [folder, others]))
