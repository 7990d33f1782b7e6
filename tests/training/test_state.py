"""The trainer's state: damage is noticed, the one before is used, nothing piles up, two trainings never meet."""

import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsv.engine import checkpoints as module
from selfsv.engine.checkpoints import KEPT, KEPT_OF_OTHERS, StateFile
from selfsv.errors import TrainingError

REPOSITORY = Path(__file__).parents[2]


def value(number: int) -> dict[str, object]:
    return {"number": number, "weights": torch.full((1000,), float(number))}


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.pt"))


@pytest.fixture
def saved(tmp_path) -> StateFile:
    """A training that has saved its state three times."""
    state = StateFile(tmp_path, "train-1", "abc")
    for number in range(3):
        state.save(value(number))
    return state


def test_the_newest_state_comes_back(saved, tmp_path):
    found = saved.load()
    assert found["number"] == 2 and torch.equal(found["weights"], value(2)["weights"])
    assert StateFile(tmp_path, "train-1", "other").load() is None
    assert StateFile(tmp_path, "train-11", "abc").load() is None


def test_what_a_killed_process_was_writing_is_swept_by_the_next(saved, tmp_path):
    unfinished, others = (tmp_path / f".train-1-{key}.unnamed.node-7.partial" for key in ("abc", "other"))
    unfinished.touch()
    others.touch()
    with saved.locked():
        assert not unfinished.exists() and others.exists()


def test_only_the_last_states_are_kept(saved, tmp_path):
    assert len(files(tmp_path)) == KEPT
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".pt"]


@pytest.mark.parametrize("seed", range(20))
def test_a_single_flipped_bit_is_noticed_and_the_state_before_used(saved, tmp_path, seed, caplog):
    newest = files(tmp_path)[-1]
    content = bytearray(newest.read_bytes())
    rng = np.random.default_rng(seed)
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    newest.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert saved.load()["number"] == 1
    assert newest.name in caplog.text


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.999])
def test_a_truncated_file_is_noticed_and_the_state_before_used(saved, tmp_path, kept, caplog):
    newest = files(tmp_path)[-1]
    os.truncate(newest, int(kept * newest.stat().st_size))
    assert saved.load()["number"] == 1
    assert newest.name in caplog.text
    saved.save(value(7))
    assert saved.load()["number"] == 7


def test_nothing_readable_means_from_the_beginning(saved, tmp_path):
    for path in files(tmp_path):
        path.write_bytes(b"damaged")
    assert saved.load() is None


def test_a_pickle_is_never_run(tmp_path):
    """A file that carries code under a valid name: it is refused, and its code does not run."""
    import hashlib
    import pickle

    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/owned",)

    torch.save({"number": Payload()}, tmp_path / "payload", pickle_module=pickle)
    digest = hashlib.sha256((tmp_path / "payload").read_bytes()).hexdigest()[:16]
    (tmp_path / "payload").rename(tmp_path / f"train-1-abc.000009.{digest}.pt")
    assert StateFile(tmp_path, "train-1", "abc").load() is None
    assert not (tmp_path / "owned").exists()


def test_states_of_other_settings_are_found_again_but_do_not_pile_up(tmp_path):
    for number in range(10):
        state = StateFile(tmp_path, "train-1", f"settings{number}")
        state.save(value(number))
        state.save(value(number))
        os.utime(files(tmp_path)[0], (number, number))
    StateFile(tmp_path, "pretrain", "settings0").save(value(99))
    StateFile(tmp_path, "train-1", "settings9").save(value(9))
    assert len(list(tmp_path.glob("train-1-*.pt"))) == KEPT + KEPT_OF_OTHERS
    assert StateFile(tmp_path, "train-1", "settings8").load()["number"] == 8
    assert StateFile(tmp_path, "pretrain", "settings0").load()["number"] == 99


def test_a_full_disk_leaves_the_last_state(saved, tmp_path, monkeypatch):
    def full(path, _):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_torch", full)
    with pytest.raises(OSError, match="No space left"):
        saved.save(value(3))
    assert saved.load()["number"] == 2
    assert len(list(tmp_path.iterdir())) == KEPT


HOLDER = """
import sys, time
from pathlib import Path
from selfsv.engine.checkpoints import StateFile
with StateFile(Path(sys.argv[1]), "train-1", "abc").locked():
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_second_training_waits_for_the_first_and_says_so(tmp_path, ending, monkeypatch, caplog):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 0.05)
    first = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert first.stdout and first.stdout.readline() == "locked\n"
    with open(tmp_path / "train-1-abc.lock", "a") as file, pytest.raises(BlockingIOError):
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -{ending} {first.pid}"])
    start = time.monotonic()
    with StateFile(tmp_path, "train-1", "abc").locked():
        waited = time.monotonic() - start
    killer.wait()
    first.wait()
    assert 0.3 < waited < 30
    assert f"waiting: process {first.pid} on " in caplog.text


def test_a_training_on_a_file_system_without_locks_goes_on_with_a_warning(tmp_path, no_locks, caplog):
    with StateFile(tmp_path, "train-1", "abc").locked():
        pass
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    said = record.getMessage()
    assert str(tmp_path / "train-1-abc.lock") in said and no_locks in said and "flock" in said


def test_a_failure_of_its_own_is_not_repeated_by_retries(tmp_path):
    state = StateFile(tmp_path, "train-1", "abc")
    tried = []

    def job(attempt: int) -> None:
        with state.failing_once(attempt):
            tried.append(attempt)
            raise TrainingError("the loss is not finite")

    for attempt in (1, 2, 3):
        with pytest.raises(TrainingError, match="the loss is not finite"):
            job(attempt)
    assert tried == [1]
    with pytest.raises(TrainingError):
        job(1)  # a new run: something may have been mended
    assert tried == [1, 1]


@pytest.mark.parametrize("failure", [torch.OutOfMemoryError("CUDA out of memory"), FloatingPointError("not finite"), MemoryError()])
def test_what_would_fail_again_is_not_repeated_by_retries(tmp_path, failure):
    state = StateFile(tmp_path, "train-1", "abc")
    with pytest.raises(type(failure)), state.failing_once(1):
        raise failure
    with pytest.raises(TrainingError, match="not tried again"), state.failing_once(2):
        raise AssertionError


def test_a_failure_from_outside_is_repeated(tmp_path):
    state = StateFile(tmp_path, "train-1", "abc")
    for attempt in (1, 2):
        with pytest.raises(OSError), state.failing_once(attempt):
            raise OSError("a node went down")
    with pytest.raises(ZeroDivisionError), state.failing_once(2):
        raise ZeroDivisionError  # a fault of the code, which may be mended meanwhile
    with state.failing_once(3):
        pass
