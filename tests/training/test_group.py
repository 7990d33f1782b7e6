"""Two processes with half of each batch do what one does with all of it."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from joblib import Parallel, delayed
from torch import nn

from selfsv.data.corpus import PackedCorpus
from selfsv.data.features import LogMel
from selfsv.engine.extraction import extract_embeddings
from selfsv.engine.processes import Group
from selfsv.losses.contrastive import nt_xent, uniformity
from selfsv.losses.koleo import koleo
from selfsv.losses.mean_entropy import mean_entropy
from selfsv.losses.redundancy import correlation_norm, redundancy
from selfsv.losses.sinkhorn import sinkhorn
from selfsv.models.ecapa import FrameNorm
from selfsv.models.encoders import untrained
from selfsv.models.synchronised import GlooNorm, SyncFrameNorm, synchronise
from selfsv.settings.audio import AugmentationSettings, FeatureSettings
from tests.models.small import SMALL
from tests.training.workshop import AWARE, CPU, ENCODER, Workshop, weights

PROCESSES = 2


def together(work: Callable[[Group], Any], folder: Path, processes: int = PROCESSES) -> list[Any]:
    """What `work` returns in each of several processes that form a group.

    They are fresh ones, kept from test to test: torch forbids gradients in a fork of a process that has compiled or exported.
    """
    folder.mkdir(exist_ok=True)
    members = (delayed(_member)(work, folder, rank, processes) for rank in range(processes))
    return Parallel(n_jobs=processes, batch_size=1, pre_dispatch="all", timeout=240, max_nbytes=None)(members)


def _member(work: Callable[[Group], Any], folder: Path, rank: int, processes: int) -> Any:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=processes)
    try:
        found = work(Group(rank, processes))
        dist.barrier()
        return found
    finally:
        dist.destroy_process_group()


def test_meetings(tmp_path):
    def work(group: Group) -> dict[str, Any]:
        rows = torch.arange(3.0 + group.rank)[:, None] + 10 * group.rank
        return {
            "total": group.total(3 + group.rank),
            "largest": group.largest(group.rank),
            "gathered": group.gathered(rows),
            "agreed": group.on_first_rank(lambda: ["from", group.rank]),
            "part": group.part([0, 1, 2]),
        }

    one, other = together(work, tmp_path / "group")
    assert one["part"] == [0, 2] and other["part"] == [1]
    for member in (one, other):
        assert (member["total"], member["largest"], member["agreed"]) == (7, 1, ["from", 0])
        assert member["gathered"].flatten().tolist() == [0, 1, 2, 10, 11, 12, 13]


NORMS = {"1d": (nn.BatchNorm1d(6), (7, 6)), "2d": (nn.BatchNorm2d(6), (7, 6, 3, 5)), "frames": (FrameNorm(6), (7, 11, 6))}


@pytest.mark.parametrize(("norm", "shape"), NORMS.values(), ids=NORMS)
@pytest.mark.parametrize("sizes", [(4, 3), (7, 0)], ids=["uneven", "one-empty"])
def test_batchnorm_of_parts_is_that_of_the_whole(norm, shape, sizes, tmp_path):
    """Against torch's own BatchNorm on the whole batch: outputs, running statistics, gradients of inputs and weights."""
    torch.manual_seed(0)
    values, outward = torch.randn(shape) * 3 + 5, torch.randn(shape)
    norm = deepcopy(norm)
    nn.init.normal_(norm.weight)
    whole = values.clone().requires_grad_()
    start = {name: value.clone() for name, value in norm.state_dict().items()}
    expected = norm(whole)
    expected.backward(outward)

    def work(group: Group) -> dict[str, Any]:
        norm.load_state_dict(start)
        norm.zero_grad()
        holder = nn.Sequential(norm)
        synchronise(holder, CPU, group.sum)
        (layer,) = holder
        part = values.split(list(sizes))[group.rank].clone().requires_grad_()
        output = layer(part)
        output.backward(outward.split(list(sizes))[group.rank])
        group.sum_gradients(layer.parameters())
        gradients = [part.grad, layer.weight.grad, layer.bias.grad]
        return {"output": output.detach(), "gradients": gradients, "state": layer.state_dict(), "evaluated": layer.eval()(part).detach()}

    members = together(work, tmp_path / "group")
    torch.testing.assert_close(torch.cat([member["output"] for member in members]), expected.detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.cat([member["gradients"][0] for member in members]), whole.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.cat([member["evaluated"] for member in members]), norm.eval()(values).detach(), rtol=1e-4, atol=1e-4)
    for member in members:
        torch.testing.assert_close(member["gradients"][1:], [norm.weight.grad, norm.bias.grad], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(member["state"], dict(norm.state_dict()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_batchnorm_is_replaced_and_keeps_its_name(device):
    encoder = untrained(ENCODER, 80, 1, 0)
    plain = [module for module in encoder.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    names = list(encoder.state_dict())
    synchronise(encoder, torch.device(device), Group().sum)
    norms = [module for module in encoder.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == len(plain) and not {*map(id, plain)} & {*map(id, norms)}
    assert all(isinstance(module, nn.SyncBatchNorm) for module in norms) == (device == "cuda")
    assert list(encoder.state_dict()) == names


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_network_that_is_placed_twice_keeps_its_norms(device):
    """As that of CA-DINO: with its head, and its encoder again. A norm of frames must not become one of images."""
    encoder = untrained(ENCODER, 80, 1, 0)
    synchronise(encoder, torch.device(device), Group().sum)
    norms = [module for module in encoder.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    synchronise(encoder, torch.device(device), Group().sum)
    assert [module for module in encoder.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)] == norms


def test_the_norms_of_gpus_are_torchs_and_know_the_layout_of_frames():
    """Torch's SyncBatchNorm takes any tensor where one process is alone; of several it takes those on GPUs only."""
    plain = untrained(ENCODER, 80, 1, 0)
    several = deepcopy(plain)
    synchronise(several, torch.device("cuda"), Group().sum)
    assert any(isinstance(module, SyncFrameNorm) for module in several.modules())
    features = torch.randn(5, 60, 80)
    torch.testing.assert_close(several(features), plain(features))
    torch.testing.assert_close(several.state_dict(), plain.state_dict())


def test_extraction_is_shared(packed, tmp_path):
    alone = Workshop.runtime_of(Group())
    corpus, log_mel = PackedCorpus(*packed.paths), LogMel(FeatureSettings())
    expected = extract_embeddings(untrained(ENCODER, 80, 1, 0), log_mel, corpus, alone)

    def work(group: Group) -> torch.Tensor:
        return torch.from_numpy(extract_embeddings(untrained(ENCODER, 80, 1, 0), log_mel, corpus, Workshop.runtime_of(group)))

    for member in together(work, tmp_path / "group"):
        np.testing.assert_array_equal(member, expected)


@pytest.mark.parametrize("architecture", SMALL)
def test_an_encoder_in_parts_has_the_gradients_of_the_whole(architecture, tmp_path):
    """In double precision, in which nothing hides behind rounding."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(7, 100, 80, generator=generator, dtype=torch.float64).cumsum(1)
    outward = torch.randn(7, 12, generator=generator, dtype=torch.float64)

    def work(group: Group) -> dict[str, torch.Tensor]:
        encoder = untrained(SMALL[architecture], 80, 1, 1).double()
        if group.size > 1:
            synchronise(encoder, CPU, group.sum)
        part = np.array_split(np.arange(7), group.size)[group.rank]
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(torch.Tensor, "float", torch.Tensor.double)
            (encoder(features[part]) * outward[part]).sum().backward()
        group.sum_gradients(encoder.parameters())
        return {name: parameter.grad for name, parameter in encoder.named_parameters() if parameter.grad is not None}

    expected = work(Group())
    for member in together(work, tmp_path / "group"):
        torch.testing.assert_close(member, expected, rtol=1e-9, atol=1e-9)


OF_THE_WHOLE: dict[str, Callable[[torch.Tensor, Group], torch.Tensor]] = {
    "redundancy": lambda rows, group: redundancy(rows, group.sum),
    "correlation_norm": lambda rows, group: correlation_norm(rows, group.sum),
    "mean_entropy": lambda rows, group: mean_entropy(rows.softmax(-1), group.sum),
    "uniformity": lambda rows, group: uniformity(group.whole(F.normalize(rows, dim=-1), 1)[0]),
    "koleo": lambda rows, group: koleo(rows, *group.whole(rows, 1)),
    "nt_xent": lambda rows, group: nt_xent(F.normalize(rows, dim=-1)[:2], *group.whole(F.normalize(rows, dim=-1)[:2], 1), 0.2),
    "sinkhorn": lambda rows, group: (rows * sinkhorn(rows.detach().softmax(-1), 3, group.sum)).sum(dim=-1).mean(),
}


@pytest.mark.parametrize("name", OF_THE_WHOLE)
def test_losses_of_parts_are_those_of_the_whole(name, tmp_path):
    """The sum of the processes' shares, and each row's gradient of it, also where a row meets those of another process."""
    embeddings = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0)) @ torch.ones(5, 5).triu() + 2

    def work(group: Group) -> tuple[torch.Tensor, torch.Tensor]:
        part = embeddings.tensor_split([4] if group.size > 1 else [], dim=1)[group.rank].clone().requires_grad_()
        value = OF_THE_WHOLE[name](part, group) * part.shape[1] / embeddings.shape[1]
        value.backward()
        return value.detach(), part.grad

    value, gradient = work(Group())
    members = together(work, tmp_path / "group")
    assert sum(member[0].item() for member in members) == pytest.approx(value.item(), rel=1e-5)
    torch.testing.assert_close(torch.cat([member[1] for member in members], dim=1), gradient, rtol=1e-4, atol=1e-5)


# The transform that a batch is reverberated with is as long as its longest response, and rounds accordingly: parts of batches differ.
NOISE_ALONE = AugmentationSettings(reverberation=0.0)
# In float32 the gradients of channels that hardly vary in time are mostly rounding: the weights must not follow them far.
STILL = {"optimiser": {"learning_rate": 1e-6, "final_learning_rate": 1e-6}}
TRAININGS: dict[str, Callable[[Workshop], Any]] = {
    "cluster-aware": lambda workshop: workshop.pretraining(cluster_aware=AWARE, **STILL),
    "redundancy": lambda workshop: workshop.pretraining(dino={"redundancy_weight": 0.04}, **STILL),
    "gated": lambda workshop: workshop.gated(average_last=2, **STILL),
    "kept": lambda workshop: workshop.going_on(
        objective_weight=0.5, relabel_start_epoch=3, gate={"trust": "history", "history_epochs": 2, "gate_start_epoch": 2}, **STILL
    ),
    "tuning": lambda workshop: workshop.tuning(**STILL),
    "audio-visual": lambda workshop: workshop.audio_visual(**STILL),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_train_as_one(name, packed, banks, packed_faces, tmp_path):
    """Losses, centre, BatchNorm statistics, recorded losses, tau_1 and the sum of gradients of a few epochs."""

    def work(group: Group) -> dict[str, Any]:
        workshop = Workshop(packed, banks, packed_faces, group, NOISE_ALONE)
        method = TRAININGS[name](workshop)
        rows = workshop.trained(method, tmp_path / f"state-of-{group.size}")
        return outcome(method, rows)

    expected = work(Group())
    for member in together(work, tmp_path / "group"):
        for momentum, other in zip(member.pop("momentum"), expected["momentum"], strict=True):
            assert (momentum - other).norm() < 0.1 * other.norm()
        for what in member:
            say = f"{what}: {{}}".format
            torch.testing.assert_close(member[what], expected[what], rtol=2e-3, atol=2e-4, equal_nan=True, msg=say)


def outcome(method, rows) -> dict[str, Any]:
    """What a training leaves behind, as plain tensors and numbers."""
    modalities = getattr(method, "modalities", [])
    networks = [modality.network for modality in modalities] or [getattr(method, "network", method)]
    optimisers = [network._optimiser for network in networks]
    figures = ("loss", "loss_redundancy", "accuracy", "reliable", "face_loss", "teacher_entropy", "student_entropy", "effective_dimensions")
    found: dict[str, Any] = {
        "weights": dict(weights(method)),
        "figures": [[row[name] for name in figures if name in row] for row in rows],
        "momentum": [torch.cat([slot["momentum_buffer"].flatten() for slot in one.state.values()]) for one in optimisers],
    }
    if hasattr(method, "network"):
        return found
    if not modalities:
        return {**found, "centre": getattr(method.objective, "centre", None), "clusters": method._clusters}
    found["gates"] = [[value for value in row.values() if isinstance(value, float)] for row in method.gate_rows]
    return {**found, "recorded": [torch.from_numpy(modality.gate.recorded()[0]) for modality in modalities]}


def test_a_copied_network_stays_in_its_group():
    """A teacher is a copy of the student, and torch's groups cannot be copied."""

    class Handle:
        def __deepcopy__(self, _: object) -> None:
            raise TypeError("cannot pickle 'ProcessGroup' object")

    group = Group(0, 2, patient=Handle(), watch=Handle())
    student = untrained(ENCODER, 80, 1, 0)
    synchronise(student, torch.device("cpu"), group.sum)
    teacher = deepcopy(student)
    assert deepcopy(group) is group
    sums = [module._add_up.__self__ for module in teacher.modules() if isinstance(module, GlooNorm)]
    assert sums and all(one is group for one in sums)
