"""Start a training script as one process per GPU: `python -m selfsv.engine.launch --gpus 4 [--nodes 2] pipeline.train …`.

With at most one GPU it becomes the script itself. With several it becomes torchrun, which ends all processes when one fails
and hands on SIGTERM, so that the state is saved before a time limit strikes. On several nodes, inside a SLURM job that has
them, it becomes srun with one torchrun on each.
"""

import argparse
import os
import socket
import sys
from collections.abc import Mapping

from selfsv.errors import InputError
from selfsv.stage import run

JOB_VARIABLES = ("SLURM_JOB_ID", "SLURM_CONF", "SLURM_CLUSTER_NAME")


def main() -> None:
    """Replace this process by those that carry out the module."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    arguments.add_argument("--gpus", type=int, default=1, help="processes on each node; 0, for the CPU, is one")
    arguments.add_argument("--nodes", type=int, default=1)
    arguments.add_argument("--threads", type=int, default=1, help="CPU cores of the job on each node")
    arguments.add_argument("module", help="of the script")
    arguments.add_argument("arguments", nargs=argparse.REMAINDER, help="of the script")
    args = arguments.parse_args()
    command = launched(args.module, args.arguments, args.gpus, args.nodes, args.threads, os.environ)
    os.execvpe(command[0], command, dict(os.environ) if args.nodes == 1 else of_whole_job(os.environ))


def launched(module: str, arguments: list[str], gpus: int, nodes: int, threads: int, environment: Mapping[str, str]) -> list[str]:
    """The command line that carries out `module`.

    Raises:
        InputError: several nodes are asked for outside a SLURM job.
    """
    python = [sys.executable, "-m"]
    # Without the dashes torchrun would take --log, a stage's option, for an abbreviation of its own.
    script = ["--module", "--", module, *arguments]
    if nodes == 1 and gpus <= 1:
        return [*python, module, *arguments]
    torchrun = [*python, "torch.distributed.run", f"--nproc-per-node={max(gpus, 1)}"]
    if nodes == 1:
        return [*torchrun, "--standalone", *script]
    job = environment.get("SLURM_JOB_ID")
    if job is None:
        raise InputError(f"runtime.nodes is {nodes}, which needs a SLURM job: use --profile slurm, or set it to 1")
    # The job step that this runs in holds the job's resources on one node; a second step beside it uses those of all nodes.
    srun = ["srun", f"--jobid={job}", "--overlap", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    srun += [f"--cpus-per-task={threads}", "--cpu-bind=none", "--kill-on-bad-exit=1", *([f"--gres=gpu:{gpus}"] if gpus else [])]
    meeting = [f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-id={job}", f"--rdzv-endpoint={socket.gethostname()}:{port_of(job)}"]
    return [*srun, *torchrun, *meeting, *script]


def of_whole_job(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without what SLURM says of the job step that this process runs in, which srun would take for limits."""
    return {name: value for name, value in environment.items() if not name.startswith("SLURM_") or name in JOB_VARIABLES}


def port_of(job: str) -> int:
    """The port at which a job's nodes meet; other jobs on the same node hardly ever have the same."""
    return 20_000 + int(job) % 10_000


if __name__ == "__main__":
    run(main)
