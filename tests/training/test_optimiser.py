"""The optimiser of stage I and its learning rates."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from selfsv.errors import SettingsError
from selfsv.methods.pretraining import optimiser_of
from selfsv.settings.pretrain import OptimiserSettings
from selfsv.settings.section import validated
from tests.training.workshop import CPU, Workshop


def test_adam_is_torchs_on_the_same_groups():
    """Weight decay reaches matrices alone, and none that asks for none."""
    torch.manual_seed(1)
    ours = nn.ModuleDict({"one": nn.Linear(5, 4), "bare": nn.Linear(4, 3, bias=False), "last": nn.Linear(3, 2, bias=False)})
    theirs = nn.ModuleDict({"one": nn.Linear(5, 4), "bare": nn.Linear(4, 3, bias=False), "last": nn.Linear(3, 2, bias=False)})
    theirs.load_state_dict(ours.state_dict())
    objective = SimpleNamespace(trained=ours, last_layer=[ours["last"].weight], undecayed=[ours["bare"].weight])
    optimiser = optimiser_of(objective, OptimiserSettings(kind="adam", weight_decay=0.1), CPU)
    decayed, plain = [theirs["one"].weight, theirs["last"].weight], [theirs["one"].bias, theirs["bare"].weight]
    expected = torch.optim.Adam([{"params": decayed, "weight_decay": 0.1}, {"params": plain}], lr=0.01)
    for group in optimiser.param_groups:
        group["lr"] = 0.01
    for _ in range(2):
        inputs = torch.randn(6, 5)
        for network, one in ((ours, optimiser), (theirs, expected)):
            one.zero_grad()
            network["last"](network["bare"](network["one"](inputs))).square().mean().backward()
            one.step()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, msg=name)


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({}, {0: 0, 1: 0.1, 2: 0.2, 6: 0.11, 10: 0.02}),
        ({"schedule": "warmup_exponential"}, {0: 0, 1: 0.1 * 0.1**0.1, 5: 0.2 * 0.1**0.5, 10: 0.02}),
        ({"kind": "adam", "schedule": "warmup_exponential", "warmup_epochs": 0}, {0: 0.004, 5: 0.002, 10: 0.001}),
    ],
)
def test_learning_rates_at_start_middle_and_end(packed, banks, packed_faces, changes, rates):
    """For a batch of 512: twice those of 256."""
    optimiser = {"learning_rate": 0.1, "final_learning_rate": 0.01, "warmup_epochs": 2}
    adam = {"learning_rate": 0.002, "final_learning_rate": 0.0005}
    workshop = Workshop(packed, banks, packed_faces)
    method = workshop.pretraining(epochs=10, batch_size=512, optimiser={**optimiser, "adam": adam, **changes})
    assert {epoch: method._learning_rate(epoch) for epoch in rates} == pytest.approx(rates)


def test_no_exponential_ends_at_nothing():
    with pytest.raises(SettingsError, match="choose a greater one"):
        validated(OptimiserSettings, {"schedule": "warmup_exponential", "final_learning_rate": 0.0})
