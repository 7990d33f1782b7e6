"""What a training says of its course: lines of the log within an epoch and after it, and TensorBoard's file."""

import logging
import re

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from selfsv.engine import figures, history
from selfsv.engine.history import EpochLines, announce, write_tensorboard
from selfsv.progress import time_left


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(scope="module", autouse=True)
def _alone(one_thread):
    """All tests here."""


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(history, "time", made)
    return made


@pytest.fixture(autouse=True)
def info(caplog):
    caplog.set_level(logging.INFO, logger="selfsv")


def test_an_epoch_has_a_line_every_half_minute_with_the_time_left(clock, caplog):
    lines = EpochLines("CA-DINO, epoch 3/10", 20, 100, epochs_after=7)
    for step in range(21, 61):
        clock.now += 2.0
        lines.after_step(step)
    assert caplog.messages == [
        "CA-DINO, epoch 3/10: 35 of 100 steps (35%), 2 s each, 2:10 left, and 25:30 of all epochs",
        "CA-DINO, epoch 3/10: 50 of 100 steps (50%), 2 s each, 1:40 left, and 25:00 of all epochs",
    ]
    assert time_left("\n".join(f"10:00:00 INFO {line}" for line in caplog.messages)) == 25 * 60


@pytest.mark.parametrize(("epoch", "seconds", "left"), [(0, 3.5, 9 * 3.5), (4, 4000.0, 5 * 4000.0), (9, 3.5, 0.0)])
def test_the_time_left_is_read_from_the_log_of_an_epoch(caplog, epoch, seconds, left):
    announce({"epoch": epoch, "loss": 0.25, "seconds": seconds, "warning": "COLLAPSE: left"}, 10)
    assert time_left("WARNING before\n" + "\n".join(f"10:00:00 INFO {line}" for line in caplog.messages) + "\n") == left
    assert time_left("10:00:00 INFO the encoder is compiled\n") is None


def test_a_bar_takes_the_place_of_the_lines(clock, caplog, monkeypatch):
    monkeypatch.setattr(history, "wants_bar", lambda: True)
    lines = EpochLines("a", 0, 10, 0)
    clock.now += 60
    lines.after_step(1)
    assert not caplog.messages


@pytest.mark.parametrize(("epoch", "left"), [(0, ", 1:30 left"), (2, ", 30.0 s left"), (3, "")])
def test_the_line_of_an_epoch_says_how_long_the_others_will_take(caplog, epoch, left):
    announce({"epoch": epoch, "loss": 2.5, "seconds": 30.0, "warning": ""}, 4)
    assert caplog.messages == [f"epoch {epoch + 1} of 4: loss 2.5{left}"]


def test_a_training_speaks_within_its_epochs(workshop, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(history, "SECONDS_BETWEEN_LINES", 0.0)
    method = workshop.gated(epochs=2)
    workshop.trained(method, tmp_path)
    steps = [re.match(r"DLG-LC round 1, epoch (\d)/2: (\d+) of (\d+) steps", message) for message in caplog.messages]
    places = [tuple(map(int, match.groups())) for match in steps if match]
    count = places[0][2]
    assert places == [(epoch, step, count) for epoch in (1, 2) for step in range(1, count + 1)]


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_training_has_one_event_file_with_all_epochs(workshop, tmp_path, epochs):
    """After a run that was taken up again, too, and after one begun anew."""
    write_tensorboard(tmp_path / "tensorboard", [{"epoch": epoch, "loss": -1.0} for epoch in range(9)])
    rows = workshop.trained(workshop.gated(epochs=epochs), tmp_path)
    files = [path for path in (tmp_path / "tensorboard").rglob("*") if path.is_file()]
    assert len(files) == 1
    events = EventAccumulator(str(files[0])).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(row["epoch"], pytest.approx(row["loss"])) for row in rows]
    assert {"learning_rate", "utterances_per_second", "gradient_norm"} <= set(events.Tags()["scalars"])


def test_a_curve_has_the_means_of_each_so_many_steps(monkeypatch):
    """Against plain means; also where a training is taken up again between two points."""
    monkeypatch.setattr(figures, "STEPS_OF_A_POINT", 4)
    monkeypatch.setattr(history, "STEPS_OF_A_POINT", 4)
    losses = torch.rand(11, generator=torch.Generator().manual_seed(1))
    means, device = figures.EpochMeans(("loss", "other"), torch.device("cpu")), torch.device("cpu")
    for number, loss in enumerate(losses):
        if number == 6:
            state = means.state_dict()
            means = figures.EpochMeans(("loss", "other"), device)
            means.load_state_dict(state)
        means.add(torch.stack([loss, torch.tensor(7.0)]))
    assert means.close() == pytest.approx({"loss": losses.mean().item(), "other": 7.0})
    assert means.losses == pytest.approx([losses[:4].mean().item(), losses[4:8].mean().item(), losses[8:].mean().item()], rel=1e-5)
    means.add(torch.tensor([3.0, 0.0]))
    assert means.close()["loss"] == 3.0 and means.losses == [3.0]
    assert not means.close()["loss"] and means.losses == []


def test_the_curve_of_the_loss_goes_through_the_epochs(workshop, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "STEPS_OF_A_POINT", 2)
    monkeypatch.setattr(history, "STEPS_OF_A_POINT", 2)
    method = workshop.gated(epochs=3)
    rows = workshop.trained(method, tmp_path)
    (file,) = (path for path in (tmp_path / "tensorboard").rglob("*") if path.is_file())
    points = EventAccumulator(str(file)).Reload().Scalars("steps/loss")
    assert points[-1].step % 3 == 0 and [point.step for point in points] == sorted({point.step for point in points})
    per_epoch = points[-1].step // 3
    for epoch, row in enumerate(rows):
        within = [point for point in points if epoch * per_epoch < point.step <= (epoch + 1) * per_epoch]
        counts = [
            point.step - before for point, before in zip(within, [epoch * per_epoch, *(point.step for point in within)], strict=False)
        ]
        total = sum(count * point.value for count, point in zip(counts, within, strict=True))
        assert total / per_epoch == pytest.approx(row["loss"], rel=1e-4) and max(counts) <= 2
