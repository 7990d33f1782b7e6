"""What several tests of trainings begin with."""

from collections.abc import Iterator

import pytest
import torch

from tests.training.workshop import Workshop


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Sums of several threads are rounded otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def workshop(packed, banks, packed_faces) -> Workshop:
    return Workshop(packed, banks, packed_faces)
