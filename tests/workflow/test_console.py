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

LINE = re.compile(r"^\d\d:\d\d:\d\d \[(\d+) of (\d+) done\] (\w+): (.+)$", re.MULTILINE)


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


def test_a_long_job_has_a_line_at_its_end(experiment, monkeypatch):
    now = iter([0.0, 0.0, 65.0, 90.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(now))
    stream = io.StringIO()
    shown = Console(logging.StreamHandler(stream), experiment)
    job = {"event": "job_info", "output": ["a"], "wildcards": {}}
    for event in (
        {"event": "run_info", "stats": {"total": 9}},
        {**job, "jobid": 4, "rule_name": "pretrain"},
        {**job, "jobid": 5, "rule_name": "rirs"},
        {**job, "jobid": 6, "rule_name": "all", "output": []},
        {"event": "job_finished", "job_id": 4},
        {"event": "progress", "done": 1, "total": 9},
    ):
        shown.handle(logging.makeLogRecord(event))
    assert LINE.findall(stream.getvalue()) == [
        ("0", "9", "pretrain", "stage I: train CA-DINO on train"),
        ("0", "9", "rirs", "prepare the bank of room impulse responses"),
        ("1", "9", "pretrain", "stage I: train CA-DINO on train: done in 1:05"),
    ]


def test_records_of_another_shape_are_left_to_snakemake(experiment):
    stream = io.StringIO()
    default = logging.StreamHandler(stream)
    default.name = console.HANDLER
    settings = SimpleNamespace(dryrun=False, verbose=False, quiet=None)
    workflow = SimpleNamespace(is_main_process=True, main_snakefile=str(console.REPOSITORY / "Snakefile"), output_settings=settings)
    console.logger.handlers, before = [default], console.logger.handlers
    try:
        console.show_jobs(experiment, workflow)
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
