"""What torch does not promise to keep, against plain loops: an upgrade that changes it fails here."""

import torch
from torch._dynamo.testing import CompileCounterWithBackend

from selfsv.torch_internals import BatchNorm, let_vary, norms, scale


def tensors() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in [(3,), (4, 5), (2, 3, 4)]]


def test_norms_are_those_of_a_loop():
    torch.testing.assert_close(norms(tensors()), torch.stack([tensor.norm() for tensor in tensors()]))


def test_each_tensor_is_scaled_by_its_own_factor():
    scaled, factors = tensors(), torch.tensor([2.0, 0.5, 0.0])
    scale(scaled, factors)
    for ours, plain, factor in zip(scaled, tensors(), factors, strict=True):
        torch.testing.assert_close(ours, plain * factor)


def test_a_dimension_that_may_vary_is_compiled_once():
    def graphs(vary: bool) -> int:
        torch._dynamo.reset()
        counter = CompileCounterWithBackend("eager")
        doubled = torch.compile(lambda values: values * 2, dynamic=False, backend=counter)
        for length in (4, 5, 6):
            values = torch.ones(length, 3)
            if vary:
                let_vary(values, 0)
            doubled(values)
        return counter.frame_count

    assert (graphs(vary=True), graphs(vary=False)) == (1, 3)


def test_all_batch_normalisations_are_of_one_class():
    assert all(issubclass(layer, BatchNorm) for layer in (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.SyncBatchNorm))
    assert not issubclass(torch.nn.LayerNorm, BatchNorm)
