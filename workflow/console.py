"""What the terminal shows of a run: a line when a job starts, and another when a long one is done, in place of Snakemake's ten. Each has
the time left, where anything is known of it (`remaining`).

Snakemake's file in `.snakemake/log` keeps all it has to say, and a dry run, `--verbose` and `--quiet` change nothing here. The records
are those that Snakemake's interface for logger plugins describes; what is not among them passes as it is. This is no such plugin: one
has to be installed and asked for, and this is to be there for whoever just runs the workflow.
"""

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from snakemake.logging import logger

from selfsv.errors import printable
from selfsv.progress import duration
from selfsv.scoring import systems
from selfsv.settings.experiment import Experiment
from selfsv.settings.stage_one import stage_one_title
from workflow.remaining import Remaining

REPOSITORY = Path(__file__).resolve().parents[1]
HANDLER = "DefaultStreamHandler"  # Snakemake's name of the one that writes to the terminal
LONG_SECONDS = 30.0  # a job that took so long has a line at its end, too
WATCH_SECONDS = 300.0
OURS = ("job_info", "job_started", "job_finished", "progress")
CHATTER = "Select jobs to execute..."
WORDS = {
    "fetch": "{source}, from its owner's site",
    "listing": "list the recordings of {corpus}",
    "check_corpus": "can these settings be trained on this corpus?",
    "check_trials": "are the trials of {trials} about recordings that there are?",
    "pack": "decode {corpus}, shard {shard}, to 16 kHz",
    "manifest": "join the shards' lists of {corpus}",
    "derive": "settings that follow the corpus",
    "noise": "prepare the bank of noise",
    "rirs": "prepare the bank of room impulse responses",
    "videos": "list the videos of {corpus}",
    "faces": "find faces in {corpus}, shard {shard}",
    "face_manifest": "join the shards' lists of faces of {corpus}",
    "pretrain": "stage I: train {stage_one} on {train}",
    "ivector": "stage I: train i-vectors on {train}",
    "adopt": "stage I: take over a trained model",
    "baseline": "baseline that learns nothing from crops: {kind}",
    "extract": "embeddings of {corpus} by {system}",
    "extract_av": "embeddings of voices and faces by DLG-LC round {i} of {rounds}",
    "cluster": "pseudo labels: cluster the embeddings of {system}",
    "train": "stage II, round {i} of {rounds}: train on pseudo labels of {train}",
    "train_av": "stage II, round {i} of {rounds}: train on voices, faces and pseudo labels of {train}",
    "modalities": "cluster voices and faces alone, round {i} of {rounds}",
    "large_margin": "tune the last round with a large margin",
    "finetune": "tune {start} on {percent} % of the speaker labels",
    "calibrate": "log-likelihood ratios of {system}",
    "score": "score the trials of {trials} by {system}",
    "quality": "compare the clusters of {system} with the speakers",
    "extract_parts": "embeddings of parts of recordings by {system}",
    "diagnose": "quality of {system} without labels",
    "record": "write down the settings",
    "metrics": "error rates",
    "report": "figures and tables",
}


class Known(Protocol):
    """The settings of a run, which may become known in its course."""

    @property
    def known(self) -> Experiment: ...


class Running(NamedTuple):
    """A job that has been started."""

    text: str
    since: float


def describe(rule: str, wildcards: Mapping[str, str], experiment: Experiment) -> str:
    """What a job of this rule does, with its corpus and its round; of a rule that is not ours its wildcards."""
    if rule not in WORDS:
        return ", ".join([rule, *(f"{name} {value}" for name, value in wildcards.items())])
    stage_one = stage_one_title(experiment)
    known = {"stage_one": stage_one, "train": experiment.train_corpus, "rounds": str(experiment.rounds), **wildcards}
    if "system" in known:
        known["system"] = systems.title(known["system"], stage_one)
    if "start" in known:
        known["start"] = systems.start_title(known["start"], stage_one)
    return f"{rule}: {WORDS[rule].format(**known)}"


class Console(logging.StreamHandler):
    """Writes the lines of a run's jobs, each with how many jobs are done, in place of a handler of Snakemake's.

    Where a record is not as it should be (another version of Snakemake), that handler has its own lines again.
    """

    def __init__(self, default: logging.StreamHandler, settings: Known, cores: int | None = None):
        super().__init__(default.stream)
        self._default, self._settings = default, settings
        self._remaining = Remaining(Path("results", settings.known.experiment, "benchmarks"), cores)
        self._jobs: dict[int, Running] = {}
        self._ended: list[Running] = []
        self._done, self._total = 0, 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write what there is to say about `record`, most often nothing."""
        try:
            lines = self._lines(str(getattr(record, "event", "")), record.__dict__)
            self._write(lines, str(self._remaining) if lines else "")
        except Exception:
            self._default.removeFilter(is_left_to_snakemake)
            logger.removeHandler(self)

    def watch(self) -> None:
        """Say now and then, from a thread of its own, how long the rest takes while a long job runs; nothing while nobody knows."""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(WATCH_SECONDS)
            self.say_what_runs()

    def say_what_runs(self) -> None:
        """A line on the job that has run longest, where the time left is known."""
        with self.lock or nullcontext(), suppress(Exception):  # a run goes on without this line
            job = min(self._jobs.values(), key=lambda job: job.since, default=None)
            if job and (left := str(self._remaining)):
                self._write([f"{job.text}: since {duration(time.monotonic() - job.since)}"], left)

    def _write(self, lines: list[str], left: str) -> None:
        of = f" of {self._total}" if self._total else ""
        for line in lines:
            self.stream.write(printable(f"{time.strftime('%H:%M:%S')} [{self._done}{of} done{left and ', '}{left}] {line}") + "\n")
        self.flush()

    def _lines(self, event: str, record: Mapping[str, Any]) -> list[str]:
        if event == "run_info":
            self._total = record["stats"]["total"]
            self._remaining.plan(record["stats"])
        elif event == "job_info" and record["output"]:  # a target alone has none, and does nothing
            job = self._jobs[record["jobid"]] = Running(
                describe(record["rule_name"], record["wildcards"], self._settings.known), time.monotonic()
            )
            self._remaining.start(record["jobid"], record["rule_name"], record["threads"], *record["log"][:1])
            return [job.text]
        elif event == "job_finished" and record["job_id"] in self._jobs:
            self._ended.append(self._jobs.pop(record["job_id"]))
            self._remaining.finish(record["job_id"])
        elif event == "progress":  # follows the job's end
            if record["total"] > self._total:
                self._remaining.extend()
            self._done, self._total = record["done"], record["total"]
            ended, self._ended = self._ended, []
            past = [(job.text, time.monotonic() - job.since) for job in ended]
            return [f"{text}: done in {duration(seconds)}" for text, seconds in past if seconds >= LONG_SECONDS]
        return []


def is_left_to_snakemake(record: logging.LogRecord) -> bool:
    """Whether a record is none of those that `Console` stands in for."""
    return str(getattr(record, "event", "")) not in OURS and record.msg != CHATTER


def show_jobs(settings: Known, workflow: Any) -> None:
    """Let the terminal show the jobs of this run in our lines.

    Another workflow that uses this one as a module shows its jobs as it likes. Whoever asks for more output, or for less, gets what
    Snakemake has for them.

    Args:
        settings: of the run.
        workflow: Snakemake's.
    """
    if not workflow.is_main_process or not Path(workflow.main_snakefile).is_relative_to(REPOSITORY):
        return
    output = workflow.output_settings
    quiet = {str(kind) for kind in output.quiet or ()}
    default = next((handler for handler in logger.handlers if handler.name == HANDLER), None)
    if output.dryrun or output.verbose or quiet & {"all", "rules", "progress"} or not isinstance(default, logging.StreamHandler):
        return
    default.addFilter(is_left_to_snakemake)
    console = Console(default, settings, None if workflow.non_local_exec else workflow.resource_settings.cores)
    console.watch()
    logger.addHandler(console)
