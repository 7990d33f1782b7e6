"""Data workers pass their batches through shared memory: too little of it is said before the training, in one message."""

import re
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from selfsv.data.batches import BatchIndices
from selfsv.engine import shared_memory as module
from selfsv.engine.shared_memory import require_shared_memory
from selfsv.errors import InputError

BYTES = 100_000 * 2 + 8  # of an utterance


class Samples(NamedTuple):
    samples: Tensor
    params: None = None


class Crops(Dataset):
    """100,000 samples of int16 for each utterance, and its number."""

    def __getitem__(self, indices: BatchIndices) -> tuple[Tensor, Samples]:
        return torch.from_numpy(indices.utterances), Samples(torch.zeros(2, len(indices.utterances), 50_000, dtype=torch.int16))


class Usage(NamedTuple):
    free: int


def require(monkeypatch: pytest.MonkeyPatch, free: int, workers: int, processes: int = 1) -> None:
    """Ask for batches of 32 utterances where so many bytes are free."""
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: Usage(free))
    require_shared_memory(Crops(), BatchIndices(0, np.arange(32)), workers, processes)


@pytest.mark.parametrize(("workers", "processes", "batches"), [(1, 1, 4), (6, 1, 14), (2, 4, 24)])
def test_what_the_workers_read_ahead_must_fit(monkeypatch, workers, processes, batches):
    require(monkeypatch, batches * 32 * BYTES, workers, processes)
    with pytest.raises(InputError):
        require(monkeypatch, batches * 32 * BYTES - 1, workers, processes)


def test_the_message_says_what_is_needed_what_there_is_and_what_helps(monkeypatch):
    with pytest.raises(InputError) as caught:
        require(monkeypatch, 64_000_000, 6)
    said = str(caught.value)
    assert "need 90 MB" in said and "/dev/shm has 64 MB free" in said
    assert "--shm-size=1g" in said and "--ipc=host" in said
    fitting = int(re.findall(r"runtime\.workers to (\d+)", said)[0])
    require(monkeypatch, 64_000_000, fitting)
    with pytest.raises(InputError):
        require(monkeypatch, 64_000_000, fitting + 1)


def test_without_workers_none_is_needed(monkeypatch):
    require(monkeypatch, 0, 0)
    with pytest.raises(InputError, match=r"runtime\.workers to 0"):
        require(monkeypatch, 1_000_000, 3)
