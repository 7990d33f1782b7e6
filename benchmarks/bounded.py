"""Stages that must not cost each other anything: each runs in a process of its own and for a bounded time, and is saved at once.

A stage's command writes its figures, as JSON, to the file that takes the place of SAVE in it. Where it fails or runs out of time, what it
has written until then counts.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

SAVE = "{save}"
GRACE = 5.0  # seconds between SIGTERM and SIGKILL
LEAST = 10.0  # seconds left without which no stage is begun
TAIL = 15  # lines of a failed stage's log that are shown
DONE, FAILED, TIMED_OUT, SKIPPED = "done", "failed", "timed out", "skipped"


class Stage(NamedTuple):
    """A command, and how long it may take."""

    name: str
    seconds: float
    command: list[str]


class Session:
    """Runs stages and keeps `{folder}/{name}.json`, which holds what all of them have found so far.

    Args:
        folder: for the report, each stage's figures, and their logs.
        seconds: that all stages may take together, from now on.
        about: the machine and the versions.
    """

    def __init__(self, name: str, folder: Path, seconds: float, about: dict[str, Any]):
        self._folder, self._report, self._start = folder, folder / f"{name}.json", time.monotonic()
        self._end = self._start + seconds
        self.outcome: dict[str, Any] = {"about": about, "seconds": 0.0, "stages": {}}
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        self.save()

    def left(self) -> float:
        """Seconds until all must be done."""
        return self._end - time.monotonic()

    def save(self) -> None:
        """Write the report."""
        self.outcome["seconds"] = round(time.monotonic() - self._start, 1)
        self._report.write_text(json.dumps(self.outcome, indent=2) + "\n")

    def run(self, *stages: Stage) -> bool:
        """Run stages side by side; whether all of them are done. None of them can raise."""
        start = time.monotonic()
        begun = [(stage, self._begun(stage)) for stage in stages]
        try:
            ended = [self._ended(stage, process, start) for stage, process in begun]
        finally:
            for process in (process for _, process in begun if process is not None):
                _signal(process, signal.SIGKILL)  # whatever has ended this program
        return all(ended)

    def _begun(self, stage: Stage) -> subprocess.Popen | None:
        if self.left() < LEAST:
            return None
        save = self._folder / f"{stage.name}.json"
        command = [part.replace(SAVE, str(save)) for part in stage.command]
        with open(self._log(stage), "w", encoding="utf-8") as log:
            print("+", *command, file=log, flush=True)
            try:
                return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            except OSError as error:
                print(error, file=log)
                return None

    def _ended(self, stage: Stage, process: subprocess.Popen | None, start: float) -> bool:
        status = SKIPPED if process is None else _status(process, min(start + stage.seconds, self._end))
        seconds = time.monotonic() - start
        entry = {"status": status, "seconds": round(seconds, 1), "figures": _read(self._folder / f"{stage.name}.json")}
        self.outcome["stages"][stage.name] = entry
        self.save()
        print(f"{stage.name}: {status} after {seconds:.0f} s, {self.left():.0f} s are left", flush=True)
        if status in (FAILED, TIMED_OUT):
            lines = self._log(stage).read_text(encoding="utf-8", errors="replace").splitlines()
            print("\n".join(f"    {line[:300]}" for line in lines[-TAIL:]), flush=True)
        return status == DONE

    def _log(self, stage: Stage) -> Path:
        return self._folder / "logs" / f"{stage.name}.txt"


def _status(process: subprocess.Popen, deadline: float) -> str:
    """Wait for a process until the deadline, then end it and all that it has started; its status."""
    try:
        return DONE if process.wait(max(0.0, deadline - time.monotonic())) == 0 else FAILED
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        return TIMED_OUT
    finally:
        _signal(process, signal.SIGKILL)  # data workers and compilers that are still there
        process.wait()


def _signal(process: subprocess.Popen, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def end_with_stages() -> None:
    """Let SIGTERM, of `timeout` for example, end this program and with it the stages that are running."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def refuse_without_gpu(*, available: bool, small: bool) -> None:
    """End the program with a message where there is no GPU to measure.

    Raises:
        SystemExit: there is none, and nothing but a GPU is asked for.
    """
    if not available and not small:
        sys.exit("No GPU can be seen, and only a GPU is worth measuring here. To see whether everything runs, add --small")
