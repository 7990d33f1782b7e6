"""What a person sees of a run on the terminal."""

import io
import logging
import re
from types import SimpleNamespace

import pytest

from selfsv.settings.experiment import resolve
from tests.workflow.conftest import CONFIG, OUTPUTS
from workflow import console
from workflow.console import Console, describe, is_left_to_snakemake

LINE = re.compile(r"^\d\d:\d\d:\d\d \[(\d+) of (\d+) done(?:, [^]]+ left)?\] (\w+): (.+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def experiment():
    return resolve(CONFIG)


def test_every_stage_has_its_words(experiment):
    wildcards = {"corpus": "calls", "shard": "3", "system": "iter_1", "trials": "mine", "i": "2", "kind": "fbank", "start": "iter_0"}
    told = {rule: describe(rule, {**wildcards, "percent": "10"}, experiment) for rule in OUTPUTS}
    assert all(text.startswith(f"{rule}: ") and "{" not in text for rule, text in told.items())
    assert (
        "calls" in told["pack"]
        and "DLG-LC round 1" in told["cluster"]
        and "round 2 of 2" in told["train"]
        and "CA-DINO" in told["pretrain"]
    )
    assert describe("own_rule", {"day": "1"}, experiment) == "own_rule, day 1"


def test_a_run_is_a_line_for_each_job(finished):
    told = (finished.folder / "first-run.txt").read_text()
    lines = LINE.findall(told)
    planned = int(re.search(r"^total +(\d+)$", told, re.MULTILINE)[1])
    assert len(lines) == planned - 1  # `all` does nothing
    assert {int(total) for _, total, _, _ in lines} == {planned}
    done = [int(count) for count, _, _, _ in lines]
    assert done == sorted(done) and done[0] == 0
    assert [text for _, _, rule, text in lines if rule == "train"] == [
        f"stage II, round {i} of 2: train on pseudo labels of train" for i in (1, 2)
    ]
    for noise in ("Select jobs", "Execute", "Finished jobid", "steps (", "resources:", "localrule"):
        assert noise not in told


def test_snakemakes_own_log_still_has_all(finished):
    (log,) = (finished.folder / ".snakemake/log").iterdir()
    assert log.read_text().count("Finished jobid") > 20 and "Select jobs" in log.read_text() and "    resources: " in log.read_text()


def test_the_failed_job_is_named_with_its_log(fresh):
    (fresh.folder / "pipeline/noise.py").write_text("raise SystemExit(3)")
    done = fresh.snakemake("--configfile", "overlay.yaml", "--", "results/tiny/data/noise.pt")
    assert done.status == 1
    assert "Error in rule noise" in done.told and "results/tiny/logs/noise.log" in done.told
    assert LINE.search(done.told)


@pytest.mark.parametrize("option", ["--verbose", "--quiet=rules"])
def test_who_asks_for_more_or_less_gets_it(fresh, option):
    done = fresh.snakemake("--configfile", "overlay.yaml", option, "--", "results/tiny/data/rirs.pt")
    assert done.status == 0 and not LINE.search(done.told)
    assert ("rule rirs:\n" in done.told) == (option == "--verbose")


class Clock:
    """The time of a run, as the tests set it."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(console.time, "monotonic", lambda: self.now)


JOB = {"event": "job_info", "output": ["a"], "wildcards": {}, "threads": 1, "log": []}


def shown_of(experiment, clock, *records, cores=1):
    """What the terminal shows of records, each with its time, seconds."""
    stream = io.StringIO()
    shown = Console(logging.StreamHandler(stream), SimpleNamespace(known=experiment), cores)
    for clock.now, record in records:
        shown.handle(logging.makeLogRecord(record))
    shown.say_what_runs()
    return stream.getvalue()


def test_a_long_job_has_a_line_at_its_end(experiment, monkeypatch):
    text = shown_of(
        experiment,
        Clock(monkeypatch),
        (0.0, {"event": "run_info", "stats": {"total": 9, "pretrain": 1, "rirs": 1}}),
        (0.0, {**JOB, "jobid": 4, "rule_name": "pretrain"}),
        (0.0, {**JOB, "jobid": 5, "rule_name": "rirs"}),
        (0.0, {**JOB, "jobid": 6, "rule_name": "all", "output": []}),
        (65.0, {"event": "job_finished", "job_id": 4}),
        (65.0, {"event": "progress", "done": 1, "total": 9}),
    )
    assert LINE.findall(text) == [
        ("0", "9", "pretrain", "stage I: train CA-DINO on train"),
        ("0", "9", "rirs", "prepare the bank of room impulse responses"),
        ("1", "9", "pretrain", "stage I: train CA-DINO on train: done in 1:05"),
    ]
    assert "left" not in text  # nothing of the kind of `rirs` was measured


def test_lines_have_the_time_left(experiment, monkeypatch, tmp_path):
    """A round of ten minutes has ended, another is half done by its log, and one follows; then a job that nobody has measured."""
    log = tmp_path / "train-2.log"
    log.write_text("10:00:00 INFO DLG-LC, epoch 3/9: 5 of 9 steps (56%), 2 s each, 1:40 left, and 5:00 of all epochs\n")
    (rounds, second), clock = ({**JOB, "rule_name": "train"}, {"wildcards": {"i": "2"}, "log": [str(log)]}), Clock(monkeypatch)
    monkeypatch.setattr("workflow.remaining.time.time", lambda: log.stat().st_mtime)
    records = [
        (0.0, {"event": "run_info", "stats": {"total": 4, "train": 3, "report": 1}}),
        (0.0, {**rounds, "jobid": 1, "wildcards": {"i": "1"}}),
        (600.0, {"event": "job_finished", "job_id": 1}),
        (600.0, {"event": "progress", "done": 1, "total": 4}),
        (600.0, {**rounds, **second, "jobid": 2}),
        (900.0, {"event": "other"}),
    ]
    lines = shown_of(experiment, clock, *records).splitlines()
    told = [re.search(r"done(?:, (.*))?\]", line)[1] for line in lines]
    assert told == [None, "at least 20:00 left", "at least 15:00 left", "at least 15:00 left"]
    assert lines[-1].endswith("since 5:00")
    records[0] = (0.0, {"event": "run_info", "stats": {"total": 4, "train": 3}})
    assert "about 15:00 left" in shown_of(experiment, clock, *records).splitlines()[-1]


def test_records_of_another_shape_are_left_to_snakemake(experiment):
    stream = io.StringIO()
    default = logging.StreamHandler(stream)
    default.name = console.HANDLER
    settings = SimpleNamespace(dryrun=False, verbose=False, quiet=None)
    workflow = SimpleNamespace(is_main_process=True, main_snakefile=str(console.REPOSITORY / "Snakefile"), output_settings=settings)
    workflow.non_local_exec, workflow.resource_settings = False, SimpleNamespace(cores=2)
    console.logger.handlers, before = [default], console.logger.handlers
    try:
        console.show_jobs(SimpleNamespace(known=experiment), workflow)
        for number in range(3):
            console.logger.handle(logging.makeLogRecord({"event": "job_info", "msg": f"job {number}", "levelno": logging.INFO}))
        assert console.logger.handlers == [default]
    finally:
        console.logger.handlers = before
    assert stream.getvalue() == "job 1\njob 2\n"


def test_what_has_no_line_of_ours_is_left_to_snakemake():
    told = {name: is_left_to_snakemake(logging.makeLogRecord({"event": name, "msg": "m"})) for name in (None, "job_error", "shellcmd")}
    assert all(told.values())
    assert not is_left_to_snakemake(logging.makeLogRecord({"msg": "Select jobs to execute..."}))
