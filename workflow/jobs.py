"""GPUs and cores of jobs, and the options that name them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from selfsv.settings.experiment import RuntimeSettings
from workflow.stages import words

LEAVE = "leave_minutes"
TRAINING_OPTIONS = (
    "threads",
    "device",
    "workers",
    "precision",
    "compile",
    "checkpoint_minutes",
    "stall_minutes",
    "snapshot_epochs",
    "scratch",
    "tracker",
    LEAVE,
    "attempt",
)


@dataclass(frozen=True)
class Jobs:
    """The settings `runtime` as resources and options of rules. Snakemake compares none of them: changing them reruns nothing.

    Args:
        submitted: whether this process carries out a job that Snakemake has submitted to a cluster. A user's own batch job, in which all
            of Snakemake runs, is not ours to put back in the queue.
    """

    runtime: RuntimeSettings
    submitted: bool = False

    @property
    def gpus(self) -> int:
        """Of a training, on each node."""
        return 0 if self.runtime.device == "cpu" else self.runtime.gpus

    @property
    def training_threads(self) -> int:
        """On each node: the settings name the cores of one GPU."""
        return self.runtime.threads * max(self.gpus, 1)

    @property
    def training_resources(self) -> dict[str, Any]:
        """The resources to ask SLURM for: GPUs of one node, or of each of several nodes; and cores of a node, not of each GPU."""
        several = self.gpus and self.runtime.nodes > 1
        return {
            "nodes": self.runtime.nodes,
            **({"gres": f"gpu:{self.gpus}"} if several else {"gpu": self.gpus}),
            "cpus_per_task": lambda wildcards, threads: threads,
            "attempt": lambda wildcards, attempt: attempt,
        }

    def memory(self, megabytes: int) -> Callable[..., int]:
        """The memory of a job in MB: twice as much where it is tried again, for it may have had too little.

        No further: retries follow preemptions and time limits, too, and a job that asks for more than a node has waits for ever. So does
        no training ask for more, which is retried for its time limit as a rule.
        """
        return lambda wildcards, attempt: megabytes * min(attempt, 2)

    def launcher(self, wildcards: Any, threads: int) -> str:
        """The command that starts a training's processes."""
        return f"python -m selfsv.engine.launch --gpus {self.gpus} --nodes {self.runtime.nodes} --threads {threads}"

    def options(self, *names: str, **others: str) -> Callable[..., list[str]]:
        """A function for a rule's params, which gives the options of these names, and `others`."""

        def options(wildcards: Any, threads: int, resources: Any) -> list[str]:
            values = {
                "threads": threads,
                "attempt": resources.get("attempt"),
                "device": self.runtime.device,
                "precision": self.runtime.precision,
                "compile": str(self.runtime.compile).lower(),
                "workers": self.runtime.workers * max(self.gpus, 1),
                "processes": self.runtime.nodes * max(self.gpus, 1),
                "checkpoint_minutes": self.runtime.checkpoint_minutes,
                "stall_minutes": self.runtime.stall_minutes,
                "snapshot_epochs": self.runtime.snapshot_epochs or [],
                "shared_start": self.runtime.shared_start or [],
                "scratch": self.runtime.scratch or [],
                "tracker": self.runtime.tracker if self.runtime.tracker != "none" else [],
                LEAVE: self.runtime.leave_minutes,
            }
            given = [name for name in names if self.submitted or name != LEAVE]
            return words({**{name: values[name] for name in given}, **others})

        return options
