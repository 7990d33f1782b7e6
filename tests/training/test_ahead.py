"""What travels to the GPU ahead of its step. The GPU here is one that keeps nothing: torch's `meta`."""

import pytest
import torch

from selfsv.data.ahead import bulky_on, copied_ahead
from selfsv.data.augment import AugmentationParams
from selfsv.data.batches import Crops, PretrainBatch


def batch(value: int = 1) -> PretrainBatch:
    plans = AugmentationParams(
        torch.ones(2, 3, dtype=torch.int64), *(torch.ones(2, 3) for _ in range(2)), torch.ones(2, 3, dtype=torch.int64)
    )
    samples = torch.full((2, 3, 8), value, dtype=torch.int16)
    return PretrainBatch(torch.arange(3), Crops(samples, plans), Crops(samples, None))


def test_samples_travel_and_plans_stay():
    moved = bulky_on(torch.device("meta"), batch())
    assert moved.long.samples.is_meta and moved.short.samples.is_meta
    assert not moved.utterances.is_meta and not any(field.is_meta for field in moved.long.params)
    assert type(moved) is PretrainBatch and type(moved.long.params) is AugmentationParams and moved.short.params is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_every_batch_comes_once_and_in_order():
    found = [one.long.samples for one in copied_ahead(iter([batch(value) for value in range(5)]), torch.device("cuda"))]
    assert [int(samples.max()) for samples in found] == list(range(5)) and all(samples.is_cuda for samples in found)
