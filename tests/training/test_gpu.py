"""What a GPU would refuse or wait for, found without one."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from selfsv.data.batches import epoch_batches
from selfsv.methods import pretraining
from selfsv.methods.ca_dino import DinoNetwork
from selfsv.methods.pretraining import optimiser_of
from selfsv.models.projection_head import ProjectionHead
from selfsv.settings.pretrain import PretrainSettings
from selfsv.settings.section import validated
from tests.training.pretended_gpu import GPU, pretended_gpu
from tests.training.workshop import CPU, METHODS, OBJECTIVES, PRETRAIN, Workshop

UTTERANCES, EPOCHS = 24, 3
TRAININGS: dict[str, Callable[[Workshop], Any]] = {
    **METHODS,
    **{f"by-{name}": lambda workshop, changes=changes: workshop.pretraining(**changes) for name, changes in OBJECTIVES.items()},
}


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")  # torch's own, where it sets what autograd keeps
@pytest.mark.parametrize("name", TRAININGS)
def test_steps_stay_on_the_gpu_and_wait_for_nothing(name, packed, banks, packed_faces, monkeypatch):
    embeddings = np.random.default_rng(0).normal(size=(UTTERANCES, 12)).astype(np.float32)
    monkeypatch.setattr(pretraining, "extract_embeddings", lambda *_: embeddings)
    with pretended_gpu(monkeypatch):
        method = TRAININGS[name](Workshop(packed, banks, packed_faces, device=GPU))
        for epoch in range(EPOCHS):  # the last layer begins to move in the second, the gate and its corrections in the third
            crops = method.begin_epoch(epoch)
            for step, indices in enumerate(epoch_batches(1, method.stage, epoch, UTTERANCES, method.batch_size)):
                method.step(crops[indices], epoch + step / 3)


@pytest.mark.parametrize("misuse", ["place", "value", "copy"])
def test_the_pretended_gpu_refuses(misuse, monkeypatch):
    with pretended_gpu(monkeypatch):
        there, here = torch.zeros(3, device=GPU), torch.arange(3)
        with pytest.raises((RuntimeError, AssertionError)):
            {"place": lambda: there + here, "value": lambda: bool(there.sum() > 0), "copy": there.cpu}[misuse]()
        assert (there + here.to(GPU)).device == GPU
        with torch.autocast(GPU.type, torch.bfloat16):
            assert (there[None] @ there[:, None]).dtype == torch.bfloat16
        assert here[here > 0].tolist() == [1, 2]


def test_the_fused_step_of_the_gpu_is_the_plain_one_when_the_last_layer_starts_later():
    torch.manual_seed(1)
    settings = validated(PretrainSettings, PRETRAIN)
    plain = DinoNetwork(nn.Linear(7, 12), ProjectionHead(settings.head, 12))
    fused = DinoNetwork(nn.Linear(7, 12), ProjectionHead(settings.head, 12))
    fused.load_state_dict(plain.state_dict())
    # Off the CPU `optimiser_of` asks for the fused step; here the fused step of the CPU stands in for it.
    objectives = [SimpleNamespace(trained=one, last_layer=[one.head.prototypes.weight], undecayed=[]) for one in (plain, fused)]
    optimisers = [optimiser_of(objective, settings.optimiser, CPU) for objective in objectives]
    for group in optimisers[1].param_groups:
        group["fused"] = True
    for step in range(4):
        inputs = torch.randn(5, 7)
        for network, optimiser in zip((plain, fused), optimisers, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = 0.1
            optimiser.zero_grad(set_to_none=True)
            network.head(network.encoder(inputs)).square().mean().backward()
            if step < 2:
                network.head.prototypes.weight.grad = None
            optimiser.step()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(fused.state_dict()[name], value, msg=name)
