"""What the settings `runtime` mean for jobs: by plain tables."""

import pytest

from selfsv.settings.runtime import RuntimeSettings
from workflow.jobs import TRAINING_OPTIONS, Jobs


@pytest.mark.parametrize(
    ("runtime", "threads", "workers", "processes", "asked"),
    [
        ({"device": "cpu", "gpus": 4}, 3, 2, 1, {"nodes": 1, "gpu": 0}),
        ({"gpus": 1}, 3, 2, 1, {"nodes": 1, "gpu": 1}),
        ({"gpus": 4}, 12, 8, 4, {"nodes": 1, "gpu": 4}),
        ({"gpus": 4, "nodes": 2}, 12, 8, 8, {"nodes": 2, "gres": "gpu:4"}),
        ({"gpus": 0, "nodes": 2}, 3, 2, 2, {"nodes": 2, "gpu": 0}),
    ],
)
def test_cores_and_workers_are_for_each_gpu_of_a_node(runtime, threads, workers, processes, asked):
    jobs = Jobs(RuntimeSettings(**runtime, threads=3, workers=2))
    assert jobs.training_threads == threads
    assert {name: value for name, value in jobs.training_resources.items() if not callable(value)} == asked
    options = jobs.options("workers", "processes", "threads", state="s")({}, 7, {})
    assert options == ["--workers", str(workers), "--processes", str(processes), "--threads", "7", "--state", "s"]


def test_a_job_that_is_tried_again_asks_for_twice_the_memory_and_no_more():
    memory = Jobs(RuntimeSettings()).memory(8)
    assert [memory({}, attempt) for attempt in range(1, 5)] == [8, 16, 16, 16]


def test_a_training_is_told_all_of_its_runtime():
    runtime = RuntimeSettings(compile=True, checkpoint_minutes=1.5, precision="bfloat16", gpus=2, threads=3, workers=1)
    jobs = Jobs(runtime, submitted=True)
    options = jobs.options(*TRAINING_OPTIONS)({}, 6, {"attempt": 2})
    tracked = Jobs(RuntimeSettings(tracker="mlflow")).options("tracker")({}, 1, {})
    assert tracked == ["--tracker", "mlflow"]
    expected = "--threads 6 --device auto --workers 2 --precision bfloat16 --compile true"
    expected += " --checkpoint-minutes 1.5 --stall-minutes 30.0 --leave-minutes 2.0 --attempt 2"
    assert options == expected.split()
    elsewhere = Jobs(RuntimeSettings(scratch="$TMPDIR/x")).options(*TRAINING_OPTIONS)({}, 6, {"attempt": 1})
    assert elsewhere[elsewhere.index("--scratch") + 1] == "$TMPDIR/x" and "--scratch" not in options
    assert jobs.launcher({}, 6) == "python -m selfsv.engine.launch --gpus 2 --nodes 1 --threads 6"


def test_a_batch_job_of_the_users_own_is_not_put_back_in_the_queue():
    """All of Snakemake may run in it, or anything else."""
    options = Jobs(RuntimeSettings()).options(*TRAINING_OPTIONS)({}, 6, {"attempt": 1})
    assert "--attempt" in options and "--leave-minutes" not in options
