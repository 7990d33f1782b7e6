"""A cut of the demo as jobs of SLURM: the command that a user would type on a login node."""

from pathlib import Path

from tests.cut import REPOSITORY, command_for, overlay_for

# Shorter waits than on a cluster that others use, too.
OPTIONS = ["--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2", "--latency-wait", "5", "--jobs", "4"]
WITHOUT_ACCOUNTING = ["--slurm-status-command", "squeue", "--slurm-no-account"]
PROFILE = REPOSITORY / "slurm"
THREADS = 2


def prepared(folder: Path, experiment: str, profile: Path = PROFILE, **changes: object) -> list[str]:
    """A cut of the demo in `folder`, and the command that a user would type on a login node; `changes` are the runtime's."""
    runtime = {"device": "auto", "gpus": 1, "threads": THREADS, "workers": 2, "checkpoint_minutes": 0.02, **changes}
    overlay = overlay_for(folder, experiment=experiment, rounds=1, baselines=False, runtime=runtime)
    accounting = [] if profile != PROFILE else WITHOUT_ACCOUNTING
    return [*command_for(folder, overlay, "--profile", str(profile)), *OPTIONS, *accounting]
