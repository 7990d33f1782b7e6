"""A training that is longer than the time limit of its SLURM job: SLURM's programs are scripts here; tests/slurm has a real one."""

import argparse
import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from selfsv.engine.allocation import Allocation, current_allocation
from selfsv.engine.checkpoints import TERMINATED, Checkpoints, StateFile
from selfsv.engine.loop import fit
from selfsv.engine.processes import Group
from selfsv.engine.runtime import add_arguments, add_extraction_arguments
from tests.training.test_group import together
from tests.training.workshop import Workshop, assert_same, weights, without_time

JOB = "4711"


@pytest.fixture
def program(tmp_path, monkeypatch) -> Callable[..., None]:
    """Puts a shell script where programs are looked for first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return put


@pytest.fixture
def queued(program, tmp_path) -> Callable[[], list[str]]:
    """What `scontrol` has been asked so far; it says yes."""
    asked = tmp_path / "asked"
    asked.touch()
    program("scontrol", f'echo "$@" >> "{asked}"')
    return lambda: asked.read_text().splitlines()


@pytest.fixture
def workshop(packed, banks, packed_faces) -> Workshop:
    return Workshop(packed, banks, packed_faces)


def short() -> Allocation:
    """One whose time is over at once."""
    return Allocation(JOB, end=time.time() + 30, leave_seconds=60)


@pytest.mark.parametrize(("printed", "end"), [("echo 1795772508", 1795772508.0), ("echo N/A", None), ("exit 1", None), ("", None)])
def test_slurm_says_when_a_job_ends(program, monkeypatch, printed, end):
    monkeypatch.setenv("SLURM_JOB_ID", JOB)
    program("scontrol", "")
    program("squeue", f'test "$SLURM_TIME_FORMAT" = %s || exit 1\ncase "$*" in *--jobs={JOB}*) {printed or "true"};; esac')
    found = current_allocation(2.0)
    assert found == (None if end is None else Allocation(JOB, end, 120.0))


def test_outside_of_slurm_there_is_no_allocation(program, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    program("scontrol", "")
    assert current_allocation(2.0) is None


@pytest.mark.parametrize("make", [Workshop.tuning, pytest.param(Workshop.pretraining, marks=pytest.mark.slow)])
def test_a_training_needs_as_many_allocations_as_it_likes(make, workshop, queued, tmp_path):
    """A step in each, thirty times and more: the result is that of a training without a limit, bit for bit."""
    calm = make(workshop, epochs=3, batch_size=2)
    expected = workshop.trained(calm, tmp_path / "calm")
    rows = None
    while rows is None:
        method = make(workshop, epochs=3, batch_size=2)
        runtime, state = replace(workshop.runtime(), allocation=short()), StateFile(tmp_path / "short", "test", "key")
        with contextlib.suppress(SystemExit):
            rows = fit(method, len(workshop.corpus), runtime, state, attempt=1)
    assert len(queued()) > 30 and set(queued()) == {f"requeue {JOB}"}
    assert without_time(rows) == without_time(expected)
    assert_same(weights(method), weights(calm))


def test_where_slurm_refuses_the_training_goes_on_until_its_limit(workshop, program, tmp_path, caplog):
    program("scontrol", f'echo "$@" >> "{tmp_path}/asked"\necho "Requested operation is presently disabled" >&2\nexit 1')
    runtime, state = replace(workshop.runtime(), allocation=short()), StateFile(tmp_path, "test", "key")
    method = workshop.tuning()
    assert len(fit(method, len(workshop.corpus), runtime, state)) == method.epochs
    assert (tmp_path / "asked").read_text().splitlines() == [f"requeue {JOB}"]
    assert "presently disabled" in caplog.text


class Counting:
    """As much of a method as checkpoints need."""

    name = "counting"

    def is_finite(self) -> bool:
        return True

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None: ...


@pytest.mark.parametrize("advanced", [True, False])
def test_work_between_steps_is_cut_off_in_time_if_the_job_gained_something(advanced, queued, tmp_path):
    """A job that gained nothing would go round for ever: it runs into its limit, and a retry is spent."""
    state = StateFile(tmp_path, "test", "key")
    state.save({"counters": {"epoch": 1, "step": 2}, "method": {}})
    allocation = Allocation(JOB, end=time.time() + 0.4, leave_seconds=0.4)  # the last call comes after 0.2 s
    with Checkpoints(Counting(), state, replace(Workshop.runtime_of(Group()), allocation=allocation)) as checkpoints:
        checkpoints.counters.step += advanced
        checkpoints.save()
        end = time.monotonic() + (10 if advanced else 1)
        while not queued() and time.monotonic() < end:
            time.sleep(0.05)
    assert queued() == ([f"requeue {JOB}"] if advanced else [])


def test_all_processes_leave_and_the_first_alone_asks(queued, tmp_path):
    def work(group: Group) -> int | str | None:
        runtime = Workshop.runtime_of(group)
        if group.first:
            runtime = replace(runtime, allocation=short())
        with Checkpoints(Counting(), StateFile(tmp_path, "test", "key"), runtime) as checkpoints:
            checkpoints.counters.step += 1
            try:
                checkpoints.after_step()
            except SystemExit as left:
                return left.code
        return None

    assert together(work, tmp_path / "group") == [TERMINATED, TERMINATED]
    assert queued() == [f"requeue {JOB}"]
    assert StateFile(tmp_path, "test", "key").load()["counters"]["step"] == 1


def test_the_workflows_option_reaches_a_training():
    """And stages that train nothing never leave."""
    training, extraction = argparse.ArgumentParser(), argparse.ArgumentParser()
    add_arguments(training)
    add_extraction_arguments(extraction)
    assert training.parse_args(["--leave-minutes", "1.5"]).leave_minutes == 1.5
    assert training.parse_args([]).leave_minutes is extraction.parse_args([]).leave_minutes is None


def test_a_path_without_slurm(monkeypatch, tmp_path: Path):
    """In a container, for example: the training runs into its limit as before."""
    monkeypatch.setenv("SLURM_JOB_ID", JOB)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert current_allocation(2.0) is None
