"""A training goes on with more or fewer processes than it began with: the same utterances in the same order, the same losses."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfsv.engine.checkpoints import StateFile
from selfsv.engine.processes import Group
from selfsv.errors import InputError
from tests.training.test_group import NOISE_ALONE, STILL, TRAININGS, outcome, together
from tests.training.workshop import Workshop

# Rank 0 is asked to end after so many steps of an attempt, always in the middle of an epoch of three.
STEPS = 4
ELASTIC: dict[str, Callable[[Workshop], Any]] = {
    **{name: TRAININGS[name] for name in ("cluster-aware", "kept")},
    "moco": lambda workshop: workshop.pretraining(method="momentum_contrast", momentum_contrast={"queue": 20, "momentum": 0.9}, **STILL),
    "averaged": lambda workshop: workshop.gated(average_last=3, gate={"mode": "dlg_lc", "gate_start_epoch": 2}, **STILL),
}


def attempt(method: Any, workshop: Workshop, folder: Path, stop: bool) -> tuple[list[Any] | None, list[list[int]]]:
    """Train on from the state in `folder`: the history if it got to the end, and the utterances of each step."""
    seen, step = [], method.step

    def noting(batch, progress):
        seen.append(workshop.group.gathered(batch.utterances).tolist())
        step(batch, progress)
        if stop and len(seen) == STEPS and workshop.group.first:
            os.kill(os.getpid(), signal.SIGTERM)

    method.step = noting
    try:
        return workshop.trained(method, folder), seen
    except SystemExit:
        return None, seen


@pytest.mark.parametrize(
    ("name", "processes"),
    [
        ("cluster-aware", (1, 2, 1)),
        pytest.param("averaged", (2, 1), marks=pytest.mark.slow),
        pytest.param("moco", (1, 2), marks=pytest.mark.slow),
        pytest.param("kept", (1, 4, 2), marks=pytest.mark.slow),
    ],
)
def test_processes_may_come_and_go(name, processes, packed, banks, packed_faces, tmp_path):
    def work(group: Group, folder: Path, stop: bool) -> tuple[list[list[int]], dict[str, Any] | None]:
        workshop = Workshop(packed, banks, packed_faces, group, NOISE_ALONE)
        method = ELASTIC[name](workshop)
        rows, seen = attempt(method, workshop, folder, stop)
        return seen, None if rows is None else outcome(method, rows)

    expected_seen, expected = work(Group(), tmp_path / "alone", False)
    seen: list[list[int]] = []
    for number, count in enumerate(processes):
        stop = number < len(processes) - 1
        members = (
            [work(Group(), tmp_path / "elastic", stop)]
            if count == 1
            else together(lambda group, stop=stop: work(group, tmp_path / "elastic", stop), tmp_path / f"group-{number}", count)
        )
        assert all(member[0] == members[0][0] for member in members)
        seen += members[0][0]
        found = members[0][1]
    assert seen == expected_seen
    for momentum, other in zip(found.pop("momentum"), expected.pop("momentum"), strict=True):
        assert (momentum - other).norm() < 0.1 * other.norm()
    for what in expected:
        say = f"{what}: {{}}".format
        torch.testing.assert_close(found[what], expected[what], rtol=2e-3, atol=2e-4, equal_nan=True, msg=say)


def test_batches_that_would_be_others_are_refused_with_the_reason(packed, banks, packed_faces, tmp_path):
    """A batch of two has no utterance for a third process."""
    one = Workshop(packed, banks, packed_faces)
    rows, seen = attempt(one.tuning(batch_size=2), one, tmp_path, stop=True)
    assert rows is None and len(seen) == STEPS
    kept = StateFile(tmp_path, "test", "key").load()
    assert kept["counters"]["step"] == STEPS and kept["processes"] == 1
    three = Workshop(packed, banks, packed_faces, FirstOf(0, 3))
    steps = len(packed.speakers) // 2, len(packed.speakers) // 3
    with pytest.raises(
        InputError, match=rf"by 1 processes in {steps[0]} batches an epoch, and 3 processes would have {steps[1]}.*batch size"
    ):
        three.trained(three.tuning(batch_size=2), tmp_path)
    rows, rest = attempt(one.tuning(batch_size=2), one, tmp_path, stop=False)
    assert len(rows) == 3 and np.size(seen[0]) == 2 and len(seen) + len(rest) == 3 * steps[0]


class FirstOf(Group):
    """The first of several processes, the others of which do not matter here."""

    def on_first_rank(self, make: Callable[[], Any]) -> Any:
        return make()
