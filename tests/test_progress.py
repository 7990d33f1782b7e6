"""Progress lines, and the ordered map that does the work behind them."""

import logging
import threading
import time
from pathlib import Path

import pytest

from selfsv import progress as module
from selfsv.parallel import ordered_map
from selfsv.progress import duration, progress
from selfsv.stage import LogFile


def test_a_log_gets_lines_with_rate_and_time_left(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    with caplog.at_level(logging.INFO, logger="selfsv"):
        assert list(progress(range(10), 10, "packing", "utterance")) == list(range(10))
    assert caplog.messages == [
        "packing: 3/10 utterances (30%), 0.2 utterances/s, 28.0 s left",
        "packing: 6/10 utterances (60%), 0.2 utterances/s, 16.0 s left",
        "packing: 9/10 utterances (90%), 0.2 utterances/s, 4.0 s left",
        "packing: done, 10 utterances in 44.0 s",
    ]


@pytest.mark.parametrize(
    ("items", "unit", "words"),
    [(2, "batch", "2 batches"), (1, "batch", "1 batch"), (1, "file", "1 file"), (0, "utterance", "0 utterances")],
)
def test_counts_are_english(caplog: pytest.LogCaptureFixture, items: int, unit: str, words: str) -> None:
    with caplog.at_level(logging.INFO, logger="selfsv"):
        list(progress(range(items), items, "extract", unit))
    assert f"extract: done, {words} in " in caplog.text


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    assert list(progress(range(3), 3, "packing", "utterance")) == [0, 1, 2]
    assert "packing: 100%" in capsys.readouterr().err


def test_with_a_log_file_there_are_lines_on_a_terminal_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Other jobs of the workflow write on the same terminal."""
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(logging.getLogger(), "handlers", [LogFile(tmp_path / "log", first=True)])
    caplog.set_level(logging.INFO)
    list(progress(range(3), 3, "packing", "utterance"))
    assert "packing: done, 3 utterances" in (tmp_path / "log").read_text()


def test_durations_read_well() -> None:
    assert [duration(seconds) for seconds in (0.04, 59.9, 245.2, 3845)] == ["0.0 s", "59.9 s", "4:05", "1:04:05"]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_order(threads: int) -> None:
    def slow_for_even(number: int) -> int:
        time.sleep(0.002 * (number % 2 == 0))
        return number * number

    assert list(ordered_map(slow_for_even, range(50), threads)) == [number * number for number in range(50)]


def test_only_a_few_results_wait_in_memory() -> None:
    started = 0
    lock = threading.Lock()

    def count(number: int) -> int:
        nonlocal started
        with lock:
            started += 1
        return number

    results = ordered_map(count, range(10_000), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    time.sleep(0.05)
    assert started < 30
    results.close()  # type: ignore[attr-defined]


def test_an_error_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        list(ordered_map(lambda number: 1 // (3 - number), range(10), 2))
