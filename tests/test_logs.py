"""What a stage's script says, on the terminal and in the file that `--log` names."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SCRIPT = """
import logging, os, signal, sys, time, warnings
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts the tests in the background has it ignored
from selfsv.errors import InputError
from selfsv.stage import parser, run

LOG = logging.getLogger("selfsv")

def main():
    args = parser(__doc__, settings=False)
    args.add_argument("end")
    end = args.parse_args().end
    LOG.info("epoch 1")
    LOG.warning("a \\x1b[31mred name")
    warnings.warn("deprecated")
    if end == "waits":
        time.sleep(60)
    if end == "refuses":
        raise InputError("no such corpus")
    if end == "breaks":
        return 1 / 0

run(main)
"""


def command(log: Path, end: str, *options: str) -> list[str]:
    return [sys.executable, "-c", SCRIPT, end, "--log", str(log), *options]


def call(log: Path, end: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **variables}
    return subprocess.run(command(log, end, *options), env=environment, capture_output=True, text=True, timeout=60)


def test_the_file_has_what_the_terminal_has(tmp_path):
    done = call(tmp_path / "logs" / "a.log", "succeeds")
    text = (tmp_path / "logs" / "a.log").read_text()
    assert done.returncode == 0 and text == done.stderr
    assert "INFO epoch 1" in text and "deprecated" in text and "a \\x1b[31mred name" in text


def test_quietly_the_terminal_has_warnings_and_errors_alone(tmp_path):
    done = call(tmp_path / "a.log", "refuses", "--quiet")
    assert done.returncode == 1
    assert "INFO" not in done.stderr and "WARNING a \\x1b[31mred name" in done.stderr and "ERROR no such corpus" in done.stderr
    assert "INFO epoch 1" in (tmp_path / "a.log").read_text() and "ERROR no such corpus" in (tmp_path / "a.log").read_text()


def test_a_traceback_is_in_both(tmp_path):
    done = call(tmp_path / "a.log", "breaks", "--quiet")
    assert done.returncode == 1
    for text in (done.stderr, (tmp_path / "a.log").read_text()):
        assert text.count("Traceback") == 1 and "ZeroDivisionError" in text


@pytest.mark.parametrize(("number", "last"), [(signal.SIGKILL, "deprecated"), (signal.SIGINT, "ERROR interrupted")])
def test_a_message_is_in_the_file_at_once(tmp_path, number, last):
    log = tmp_path / "a.log"
    running = subprocess.Popen(command(log, "waits"), env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not log.exists() or "deprecated" not in log.read_text():
        assert running.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    running.send_signal(number)
    assert running.wait(30) != 0
    assert last in log.read_text() and "Traceback" not in log.read_text()


def test_a_log_is_begun_anew(tmp_path):
    for _ in range(2):
        call(tmp_path / "a.log", "succeeds")
    assert (tmp_path / "a.log").read_text().count("epoch 1") == 1


def test_of_several_processes_the_others_have_only_their_errors_in_the_file(tmp_path):
    call(tmp_path / "a.log", "succeeds", RANK="0")
    call(tmp_path / "a.log", "refuses", RANK="1")
    text = (tmp_path / "a.log").read_text()
    assert text.count("epoch 1") == 1 and text.count("ERROR no such corpus") == 1


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "a.log").mkdir()
    done = call(tmp_path / "a.log", "succeeds")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"'{tmp_path / 'a.log'}'" in done.stderr


def test_an_error_before_the_processes_start_is_in_the_file(tmp_path):
    """Of the program that starts a training's processes."""
    launch = [
        sys.executable,
        "-m",
        "selfsv.engine.launch",
        "--gpus",
        "2",
        "--nodes",
        "2",
        "pipeline.train",
        "--log",
        str(tmp_path / "a.log"),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    done = subprocess.run(launch, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "needs a SLURM job" in done.stderr and "needs a SLURM job" in (tmp_path / "a.log").read_text()
