"""How a stage ends: failures that a user can act on are one message, faults of the code keep their traceback."""

from pathlib import Path

import faiss
import numpy as np
import pytest
import torch

from selfsv.errors import InputError, TrainingError
from selfsv.stage import run


def out_of_gpu_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB\nmore")


def out_of_memory() -> None:
    torch.empty(2**55)


def out_of_memory_in_numpy() -> None:
    np.empty(2**60, np.uint8)


def too_few_points() -> None:
    faiss.Kmeans(2, 5).train(np.zeros((3, 2), np.float32))


def not_finite() -> None:
    raise FloatingPointError("the encoder gives embeddings that are not finite")


def mistake() -> None:
    raise InputError("the list is empty")


def diverged() -> None:
    raise TrainingError("the loss is not finite")


def missing() -> None:
    Path("/no/such/file").read_text()


FAILURES = {
    out_of_gpu_memory: ("out of memory", "batch_size", "20.00 GiB"),
    out_of_memory: ("out of memory", "batch_size"),
    out_of_memory_in_numpy: ("out of memory",),
    too_few_points: ("faiss", "clusters"),
    not_finite: ("not finite", "learning rate"),
    mistake: ("the list is empty",),
    diverged: ("the loss is not finite",),
    missing: ("/no/such/file",),
}


@pytest.mark.parametrize("main", FAILURES, ids=lambda main: main.__name__)
def test_what_a_user_can_act_on_is_one_message(main, caplog):
    with pytest.raises(SystemExit) as caught:
        run(main)
    assert caught.value.code == 1
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info is None
    assert all(words in record.getMessage() for words in FAILURES[main])


def test_a_fault_of_the_code_keeps_its_traceback(caplog):
    with pytest.raises(SystemExit) as caught:
        run(lambda: print(torch.zeros(2, 3) @ torch.zeros(2, 3)))
    assert caught.value.code == 1
    assert "Traceback" in caplog.text and "shapes" in caplog.text
