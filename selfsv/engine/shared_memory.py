"""Check that the batches which data workers read ahead fit into shared memory: containers have little of it."""

import shutil
from pathlib import Path

from torch.utils.data import Dataset

from selfsv.data.ahead import tensors_of
from selfsv.data.batches import READ_AHEAD, BatchIndices
from selfsv.errors import InputError

SHARED_MEMORY = Path("/dev/shm")
MEASURED = 4  # utterances of a batch, by whose size that of the batch is known
MB = 1e6


def require_shared_memory(dataset: Dataset, indices: BatchIndices, workers: int, processes: int = 1) -> None:
    """Refuse to begin where the batches on their way from the workers would not fit: torch then dies of a bus error, hours in perhaps.

    Args:
        indices: this process's part of a batch.
        workers: of this process.
        processes: on this machine, all of which read as much ahead.

    Raises:
        InputError: there is less than is needed; the message names both and says what helps.
    """
    if not workers or not SHARED_MEMORY.is_dir():
        return
    sample = BatchIndices(indices.epoch, indices.utterances[:MEASURED])
    batch = processes * len(indices.utterances) * bytes_of(dataset[sample]) / len(sample.utterances)
    needed, free = batches_ahead(workers) * batch, shutil.disk_usage(SHARED_MEMORY).free
    if needed <= free:
        return
    fitting = max((number for number in range(1, workers) if batches_ahead(number) * batch <= free), default=0)
    own = "" if fitting else ": the training process then reads the audio itself"
    raise InputError(
        f"the data workers need {needed / MB:,.0f} MB of shared memory ({batches_ahead(workers)} batches of {batch / MB:,.1f} MB), but "
        f"{SHARED_MEMORY} has {free / MB:,.0f} MB free. Start the container with more (--shm-size={-(-needed // 1e9):.0f}g, or "
        f"--ipc=host), or set runtime.workers to {fitting}{own}"
    )


def batches_ahead(workers: int) -> int:
    """Count the batches in shared memory, at most: those read ahead, the one that is trained on, and the one fetched next."""
    return workers * READ_AHEAD + 2


def bytes_of(batch: object) -> int:
    """Bytes of all tensors of a batch."""
    return sum(tensor.nbytes for tensor in tensors_of(batch))
