"""The SLURM job that a training runs in: when its time is over, and how it goes back to the queue."""

import logging
import os
import shutil
import subprocess
import time
from dataclasses import dataclass

log = logging.getLogger(__name__)

SECONDS_TO_ANSWER = 60  # of SLURM's controller


@dataclass(frozen=True)
class Allocation:
    """The time that SLURM has given to this job.

    Args:
        job: SLURM's number of it.
        end: when its time limit strikes, seconds since 1970.
        leave_seconds: before that, at which a training puts the job back in the queue.
    """

    job: str
    end: float
    leave_seconds: float

    @property
    def is_over(self) -> bool:
        """Tell whether the time to leave has begun."""
        return time.time() >= self.end - self.leave_seconds

    @property
    def last_call(self) -> float:
        """Seconds from now to the middle of the time to leave."""
        return max(0.0, self.end - self.leave_seconds / 2 - time.time())

    def requeue(self) -> bool:
        """Put the job back in the queue: SLURM ends it here and starts it again, under the same number and with its whole time limit.

        To whoever waits for the job, Snakemake for example, it has not failed.

        Returns:
            False if SLURM refuses, which is logged.
        """
        answer = _answer_of("scontrol", "requeue", self.job)
        if answer is not None:
            log.warning("the time of job %s is nearly over: its state is saved, and it is back in the queue", self.job)
        return answer is not None


def current_allocation(leave_minutes: float) -> Allocation | None:
    """The SLURM job that this process runs in; None outside of one, and for one without a time limit.

    Args:
        leave_minutes: before its end, at which a training puts it back in the queue.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or shutil.which("scontrol") is None:
        return None
    # Asked for, and not read from the environment: the limit may have been changed since the job was submitted.
    end = _answer_of("squeue", "--noheader", f"--jobs={job}", "--format=%e", SLURM_TIME_FORMAT="%s")
    return Allocation(job, float(end), 60 * leave_minutes) if end is not None and end.isdecimal() else None


def _answer_of(*command: str, **environment: str) -> str | None:
    """Run a program of SLURM; return its output. Where it fails, log that and return None."""
    variables = {**os.environ, **environment}
    try:
        done = subprocess.run(command, env=variables, check=True, capture_output=True, text=True, timeout=SECONDS_TO_ANSWER)
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("SLURM does not answer to %s: %s", " ".join(command), getattr(error, "stderr", None) or error)
        return None
    return done.stdout.strip()
