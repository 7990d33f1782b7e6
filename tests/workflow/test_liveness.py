"""Marks of dead runs are removed, those of living ones are respected."""

import subprocess
import sys
from pathlib import Path

from tests.workflow.conftest import REPOSITORY
from workflow.liveness import acquire_run_lock

HOLDER = """
import sys, time
from pathlib import Path
from workflow.liveness import acquire_run_lock
held = acquire_run_lock("mine", Path(sys.argv[1]))
print("claimed" if held else "refused", flush=True)
time.sleep(60)
"""


def mark(folder: Path, name: str, file: str) -> Path:
    path = folder / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{file}\n")
    return path


def test_marks_of_a_dead_run_are_removed_and_others_left(tmp_path):
    dead = mark(tmp_path, "0.output.lock", "results/mine/iter_0/model.pt")
    other = mark(tmp_path, "1.output.lock", "results/theirs/iter_0/model.pt")
    with acquire_run_lock("mine", tmp_path) or Path("never"):
        assert not dead.exists() and other.exists()


def test_marks_of_a_living_run_stay_until_it_is_killed(tmp_path):
    living = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert living.stdout and living.stdout.readline() == "claimed\n"
    path = mark(tmp_path, "0.output.lock", "results/mine/iter_0/model.pt")
    assert acquire_run_lock("mine", tmp_path) is None and path.exists()
    living.kill()
    living.wait()
    held = acquire_run_lock("mine", tmp_path)
    assert held is not None and not path.exists()
    held.close()


def test_without_locks_marks_stay_and_the_way_out_is_said(tmp_path, no_locks, capsys):
    path = mark(tmp_path, "0.output.lock", "results/mine/iter_0/model.pt")
    assert acquire_run_lock("mine", tmp_path) is None and path.exists()
    said = capsys.readouterr().err
    assert str(tmp_path / "mine.alive") in said and no_locks in said and "--unlock" in said


def test_a_run_after_a_killed_one_starts(workshop):
    """As Snakemake itself would find it: its own marks, and nobody there."""
    mark(workshop.folder / ".snakemake", "0.output.lock", "results/tiny/report.html")
    workshop.configure(score={"cohort_top": 9})
    workshop.run()
