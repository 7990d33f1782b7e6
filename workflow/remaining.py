"""How long the rest of a run takes: from what jobs have taken, in it and in former runs, and from the logs of running trainings."""

import csv
import os
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from selfsv.progress import duration, time_left

TRAININGS = {"pretrain", "train", "train_av", "large_margin", "finetune", "ivector"}
# Of the rounds, each of which waits for the one before: no two of these jobs run side by side.
IN_TURN = {"train", "train_av", "cluster", "extract_av"}
LOG_TAIL = 20_000  # bytes, of which the last line with a time left is looked for


class Begun(NamedTuple):
    """A job that runs."""

    rule: str
    since: float
    threads: int
    log: Path | None


class Remaining:
    """An estimate of the time that the jobs to come take.

    Args:
        benchmarks: the folder of the tables that former runs left, `{rule}-….tsv` with a column `s`.
        cores: of this machine that jobs share; None: on a cluster, jobs of one rule run side by side.
    """

    def __init__(self, benchmarks: Path, cores: int | None):
        self._cores = cores
        self._former = former_seconds(benchmarks)
        self._measured: dict[str, list[float]] = defaultdict(list)
        self._threads: dict[str, int] = {}
        self._to_do: Counter[str] = Counter()
        self._running: dict[int, Begun] = {}
        self._as_planned = True

    def plan(self, jobs: Mapping[str, int]) -> None:
        """Take in how many jobs of each rule there will be."""
        self._to_do = Counter({rule: count for rule, count in jobs.items() if rule not in ("total", "all")})

    def start(self, job: int, rule: str, threads: int, log: str = "") -> None:
        """A job begins."""
        self._running[job] = Begun(rule, time.monotonic(), threads, Path(log) if log else None)
        self._threads[rule] = threads

    def finish(self, job: int) -> None:
        """A job has ended well."""
        if begun := self._running.pop(job, None):
            self._measured[begun.rule].append(time.monotonic() - begun.since)
            self._to_do[begun.rule] -= 1

    def extend(self) -> None:
        """There are more jobs than were planned: of which rules, nobody has said."""
        self._as_planned = False

    def __str__(self) -> str:
        """`about 1:02:05 left`; `at least …` where some jobs were never measured; nothing while that says nothing of any training."""
        begun = list(self._running.values())
        running = {rule: [self._of_running(job) for job in begun if job.rule == rule] for rule in {job.rule for job in begun}}
        waiting = {rule: count - len(running.get(rule, [])) for rule, count in self._to_do.items()}
        waiting = {rule: count for rule, count in waiting.items() if count > 0}
        known = [seconds for times in running.values() for seconds in times if seconds is not None]
        known += [self._of_waiting(rule, count) for rule, count in waiting.items() if self._usual(rule) is not None]
        unknown = {rule for rule, times in running.items() if None in times} | {rule for rule in waiting if self._usual(rule) is None}
        trainings = (running.keys() | waiting.keys()) & TRAININGS
        if not known or (trainings and trainings <= unknown):
            return ""
        return f"{'at least' if unknown or not self._as_planned else 'about'} {duration(sum(known))} left"

    def _usual(self, rule: str) -> float | None:
        """Seconds of a job of this rule."""
        if times := self._measured[rule]:
            return mean(times)
        return self._former.get(rule)

    def _of_waiting(self, rule: str, count: int) -> float:
        usual = self._usual(rule) or 0.0
        if rule in IN_TURN | TRAININGS:
            return count * usual
        return usual if self._cores is None else count * usual * min(1.0, self._threads.get(rule, 1) / self._cores)

    def _of_running(self, job: Begun) -> float | None:
        """Seconds that a running job still takes; a training's log knows best."""
        if job.rule in TRAININGS and job.log and (left := left_of_training(job.log)) is not None:
            return left
        usual = self._usual(job.rule)
        return None if usual is None else max(0.0, usual - (time.monotonic() - job.since))


def former_seconds(benchmarks: Path) -> dict[str, float]:
    """What a job of each rule took in former runs, on average, seconds."""
    times: dict[str, list[float]] = defaultdict(list)
    for path in benchmarks.glob("*.tsv"):
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        try:
            times[path.stem.partition("-")[0]] += [float(row["s"]) for row in rows]
        except (KeyError, TypeError, ValueError):
            continue  # a table that a killed job left
    return {rule: mean(seconds) for rule, seconds in times.items() if seconds}


def left_of_training(log: Path) -> float | None:
    """Seconds that a running training still takes by its log; None where that says nothing yet."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL))
            text, age = file.read().decode(errors="replace"), time.time() - log.stat().st_mtime
    except OSError:
        return None
    left = time_left(text)
    return None if left is None else max(0.0, left - max(0.0, age))
