"""What every objective of stage I keeps to, whatever its formulas."""

import os
import signal
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform

from selfsv.data.batches import BatchIndices
from selfsv.engine.processes import Group
from selfsv.methods.momentum_contrast import KeyQueue
from selfsv.methods.pretraining import Pretraining
from selfsv.models.encoders import untrained
from selfsv.models.model_file import load_model, save_model
from selfsv.settings.audio import FeatureSettings
from selfsv.settings.pretrain import OBJECTIVES as MODULES
from tests.training.test_group import NOISE_ALONE, STILL, together
from tests.training.workshop import AWARE, CPU, ENCODER, OBJECTIVES, Workshop, assert_same, weights, without_time

every_objective = pytest.mark.parametrize("name", OBJECTIVES)


@pytest.fixture(scope="module", autouse=True)
def _alone(one_thread):
    """All tests here."""


@pytest.fixture(scope="module")
def undisturbed(workshop, tmp_path_factory):
    """A short training by an objective, and its history; each is carried out once."""
    done: dict[str, tuple[Pretraining, list[dict[str, Any]]]] = {}

    def of(name: str) -> tuple[Pretraining, list[dict[str, Any]]]:
        if name not in done:
            method = workshop.pretraining(**OBJECTIVES[name], cluster_aware=AWARE)
            done[name] = method, workshop.trained(method, tmp_path_factory.mktemp(name))
        return done[name]

    return of


def flat(state: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested dictionaries, by their path."""
    if not isinstance(state, dict):
        return {prefix: state}
    return {path: leaf for key, value in state.items() for path, leaf in flat(value, f"{prefix}/{key}").items()}


def test_every_objective_is_here():
    assert {changes["method"] for changes in OBJECTIVES.values()} == MODULES.keys()


@every_objective
def test_loss_falls_on_a_fixed_batch(name, workshop):
    method = workshop.pretraining(**OBJECTIVES[name], optimiser={"learning_rate": 3.0, "freeze_last_layer_epochs": 0})
    batch = method.begin_epoch(0)[BatchIndices(0, np.arange(8))]

    def loss_after(steps: int) -> float:
        for _ in range(steps):
            method.step(batch, 1.0)
        return method.objective.loss(batch, 1.0, 1.0)[0].item()

    before = loss_after(3)  # the queue is full by then
    assert loss_after(30) < before - 0.05 * abs(before)


@every_objective
def test_a_terminated_training_ends_as_if_it_had_never_been(name, workshop, undisturbed, tmp_path):
    expected, rows = undisturbed(name)
    killed = workshop.pretraining(**OBJECTIVES[name], cluster_aware=AWARE)
    original, taken = killed.step, []

    def step_then_signal(batch, progress):
        original(batch, progress)
        taken.append(progress)
        if len(taken) == 5:  # in the middle of the second epoch
            os.kill(os.getpid(), signal.SIGTERM)

    killed.step = step_then_signal
    with pytest.raises(SystemExit):
        workshop.trained(killed, tmp_path)
    resumed = workshop.pretraining(**OBJECTIVES[name], cluster_aware=AWARE)
    assert without_time(workshop.trained(resumed, tmp_path)) == without_time(rows)
    assert_same(weights(resumed), weights(expected))
    one, other = flat(resumed.objective.state_dict()), flat(expected.objective.state_dict())
    assert_same(*({path: torch.as_tensor(leaf) for path, leaf in state.items()} for state in (one, other)))


@every_objective
def test_history_has_the_columns_of_the_objective_and_they_are_finite(name, undisturbed):
    method, rows = undisturbed(name)
    figures = [*method.objective.figures, "gradient_norm", "gradient_clipped", "learning_rate"]
    assert method.objective.figures[0] == "loss"
    assert all(np.isfinite([row[figure] for figure in figures]).all() for row in rows)
    weighted = [figure for figure in figures if figure.startswith("loss_") and rows[0][figure]]
    assert weighted or name == "moco"
    assert [row["clusters"] for row in rows] == [0, 6, 6]


@every_objective
def test_the_exported_encoder_loads(name, undisturbed, tmp_path):
    method, _ = undisturbed(name)
    save_model(tmp_path / "model.pt", ENCODER, FeatureSettings(), method.exported(), stage="pretrain", iteration=0, seed=1)
    loaded, expected = load_model(tmp_path / "model.pt").encoder.eval(), untrained(ENCODER, 80, 7, 7)
    expected.load_state_dict(method.exported())
    features = torch.randn(3, 60, 80, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(features), expected.eval()(features))


@every_objective
def test_two_processes_train_as_one(name, packed, banks, packed_faces, tmp_path):
    """Negatives, queue, assignments to prototypes and BatchNorm are of the whole batch."""

    def work(group: Group) -> dict[str, Any]:
        torch.set_num_threads(1)
        workshop = Workshop(packed, banks, packed_faces, group, NOISE_ALONE)
        method = workshop.pretraining(**OBJECTIVES[name], cluster_aware=AWARE, **STILL)
        rows = workshop.trained(method, tmp_path / f"state-of-{group.size}")
        slots = method._optimiser.state.values()
        return {
            "weights": dict(weights(method)),
            "state": {path: torch.as_tensor(leaf) for path, leaf in flat(method.objective.state_dict()).items()},
            "losses": [[row[figure] for figure in method.objective.figures if figure != "accuracy"] for row in rows],
            "momentum": torch.cat([slot["momentum_buffer"].flatten() for slot in slots]),
        }

    expected = work(Group())
    for member in together(work, tmp_path / "group"):
        momentum = member.pop("momentum")
        assert (momentum - expected["momentum"]).norm() < 0.1 * expected["momentum"].norm()
        for what in member:
            say = f"{what}: {{}}".format
            torch.testing.assert_close(member[what], expected[what], rtol=2e-3, atol=2e-4, msg=say)


@every_objective
def test_partners_of_the_nearest_cluster_reach_every_objective(name, workshop, monkeypatch):
    """What is cut besides the utterance's own first crop is of the cluster that the centroids name."""
    method = workshop.pretraining(**OBJECTIVES[name], cluster_aware={**AWARE, "start_epoch": 0, "partners": "nearest_cluster"})
    dataset, cut = method.begin_epoch(0), []
    clusters, nearest = method._clusters.numpy(), method._partners.numpy()
    assert (nearest != np.arange(6))[np.unique(clusters)].all()
    original = workshop.corpus.crop
    monkeypatch.setattr(workshop.corpus, "crop", lambda utterance, *where: cut.append(utterance) or original(utterance, *where))
    dataset[BatchIndices(0, np.array([3]))]
    assert cut[0] == 3
    assert set(clusters[cut[1:]]) == {nearest[clusters[3]]}


def test_sinkhorn_centring_spreads_a_teacher_that_favours_one_prototype(workshop):
    """Against plain alternate division in float64; the centre, still 0 at the start, leaves the favourite."""
    favour = torch.randn(2, 24, 32, generator=torch.Generator().manual_seed(0)) * 0.04
    favour[..., 5] += 0.2
    shares = {}
    for centring in ("centre", "sinkhorn"):
        method = workshop.pretraining(dino={"centring": centring, "sinkhorn_iterations": 30})
        shares[centring] = method.objective._teacher_probabilities(favour, 0.04)
    expected = np.exp(favour.numpy().astype(np.float64) / 0.04).reshape(48, 32)
    for _ in range(30):
        expected /= expected.sum(axis=0)
        expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares["sinkhorn"].flatten(0, 1), expected, atol=1e-5)
    np.testing.assert_allclose(shares["sinkhorn"].sum(dim=(0, 1)), 48 / 32, rtol=0.02)
    assert shares["centre"].mean(dim=(0, 1)).argmax() == 5 and shares["centre"].mean(dim=(0, 1))[5] > 0.4


def test_koleo_is_added_to_dino_with_its_weight(workshop):
    """Distances to the nearest neighbour by scipy."""
    method = workshop.pretraining(dino={"koleo_weight": 0.3, "cosine_weight": 0.5})
    batch = method.begin_epoch(0)[BatchIndices(0, np.arange(8))]
    figures = dict(zip(method.objective.figures, method.objective.loss(batch, 0.0, 1.0), strict=True))
    parts = figures["loss_dino"] + 0.5 * figures["loss_cosine"] + 0.3 * figures["loss_koleo"]
    assert figures["loss"].item() == pytest.approx(parts.item())
    expected = 0.0
    with torch.no_grad():
        features = (workshop.features(crops) for crops in (batch.long, batch.short))
        for views in (method.objective.student.encoder(part).unflatten(0, (-1, 8)).double() for part in features):
            for view in views.numpy():
                unit = view / np.linalg.norm(view, axis=1, keepdims=True)
                distances = squareform(pdist(unit)) + np.diag(np.full(8, np.inf))
                expected -= np.log(distances.min(axis=1)).mean()
    assert figures["loss_koleo"].item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("sizes", [[3, 3, 3, 3], [1, 5, 2, 4, 4], [9], [2, 11, 1]])
def test_the_queue_keeps_the_newest_keys(sizes):
    """Against plain lists: also where a batch goes over the end, and where it is longer than the queue."""
    queue, keys, whose = KeyQueue(5, 2, CPU), [], []
    for step, size in enumerate(sizes):
        fresh = torch.arange(2.0 * size).view(size, 2) + 100 * step
        queue.add(fresh, torch.arange(size) + 10 * step)
        keys += fresh.tolist()
        whose += (torch.arange(size) + 10 * step).tolist()
        held = sorted(zip(queue.utterances.tolist(), queue.keys.tolist(), strict=True))
        expected = sorted(zip(whose[-5:], keys[-5:], strict=True))
        assert held[-len(expected) :] == expected
        assert all(number == -1 for number, _ in held[: -len(expected)])
