"""The time that the rest of a run takes, against sums by hand."""

import pytest

from workflow import remaining
from workflow.remaining import Remaining, former_seconds


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(remaining.time, "monotonic", lambda: now[0])
    return now


def table(folder, job, seconds):
    folder.mkdir(exist_ok=True)
    (folder / f"{job}.tsv").write_text(f"s\th:m:s\n{seconds}\t0:00:00\n")


def test_former_runs_are_averaged_by_rule(tmp_path):
    for job, seconds in {"train-1": 100, "train-2": 300, "extract-iter_0-train": 7, "check_corpus": 1}.items():
        table(tmp_path, job, seconds)
    (tmp_path / "pack-train-0.tsv").write_text("")
    assert former_seconds(tmp_path) == {"train": 200, "extract": 7, "check_corpus": 1}
    assert former_seconds(tmp_path / "none") == {}


def test_jobs_share_the_cores_and_rounds_wait_for_each_other(tmp_path, clock):
    for job, seconds in {"pack-train-0": 60, "train-1": 100, "cluster-iter_0": 30}.items():
        table(tmp_path, job, seconds)
    local, cluster = Remaining(tmp_path, 4), Remaining(tmp_path, None)
    for left in (local, cluster):
        left.plan({"pack": 8, "train": 3, "cluster": 2, "total": 14, "all": 1})
    assert str(local) == "about 8:00 left"  # 8 x 60 / 4 + 3 x 100 + 2 x 30
    assert str(cluster) == "about 7:00 left"  # 60 + 3 x 100 + 2 x 30


def test_this_run_counts_more_than_former_ones(tmp_path, clock):
    table(tmp_path, "train-1", 100)
    left = Remaining(tmp_path, 1)
    left.plan({"train": 3})
    left.start(1, "train", 1)
    clock[0] = 40
    assert str(left) == "about 4:20 left"  # 100 - 40, and 2 x 100
    clock[0] = 500
    left.finish(1)
    assert str(left) == "about 16:40 left"  # 2 x 500


def test_nothing_is_said_while_no_training_was_measured(tmp_path, clock):
    table(tmp_path, "pack-train-0", 60)
    left = Remaining(tmp_path, 1)
    left.plan({"pack": 8, "pretrain": 1})
    assert str(left) == ""
    left.start(1, "pretrain", 1, str(tmp_path / "pretrain.log"))
    assert str(left) == ""
    without = Remaining(tmp_path, 1)
    without.plan({"pack": 8, "report": 1})
    assert str(without) == "at least 8:00 left"


def test_more_jobs_than_planned_make_it_a_lower_bound(tmp_path, clock):
    table(tmp_path, "pack-train-0", 60)
    left = Remaining(tmp_path, 1)
    left.plan({"pack": 2})
    left.extend()
    assert str(left) == "at least 2:00 left"
