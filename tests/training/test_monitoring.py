"""What a training says of itself on its way: directions in use, agreement, clusterings, warnings, snapshots."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score

import selfsv
from selfsv.engine.checkpoints import StateFile
from selfsv.engine.diagnostics import early_gate, few_directions
from selfsv.engine.figures import EmbeddingMoments
from selfsv.engine.history import TensorBoard
from selfsv.engine.loop import fit
from selfsv.engine.processes import Group
from selfsv.engine.snapshots import Snapshots, epoch_of
from selfsv.engine.tracker import Tracker
from selfsv.losses.dino import agreement
from selfsv.methods.dlg_lc import FIGURES, Modality
from selfsv.methods.inputs import followers_of
from selfsv.models.model_file import load_model, save_model
from selfsv.settings.audio import FeatureSettings
from tests.training.workshop import AWARE, CPU, ENCODER, Workshop


@pytest.fixture
def workshop(packed, banks, packed_faces) -> Workshop:
    return Workshop(packed, banks, packed_faces)


def test_effective_dimensions_are_those_of_the_eigenvalues():
    rng = np.random.default_rng(0)
    moments = EmbeddingMoments(6, Group(), CPU)
    for _ in range(2):  # epochs
        embeddings = (rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 5).astype(np.float32)
        for part in np.array_split(embeddings, 7):
            moments.add(torch.from_numpy(part))
        eigenvalues = np.linalg.eigvalsh(np.cov(embeddings.astype(np.float64), rowvar=False))
        assert moments.close() == pytest.approx(eigenvalues.sum() ** 2 / np.square(eigenvalues).sum(), rel=1e-4)


def test_a_training_that_goes_on_knows_the_embeddings_so_far():
    embeddings = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    whole, begun, resumed = (EmbeddingMoments(6, Group(), CPU) for _ in range(3))
    whole.add(embeddings[:25])
    begun.add(embeddings[:25])
    resumed.load_state_dict(begun.state_dict())
    for moments in (whole, resumed):
        moments.add(embeddings[25:])
    assert resumed.close() == whole.close()


@pytest.mark.parametrize("pairing", ["short_to_long", "all_but_same"])
def test_agreement_counts_pairs_of_views(pairing):
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(6, 30, 4, generator=generator), torch.randn(2, 30, 4, generator=generator).softmax(dim=-1)
    pairs = [(long, view) for long in range(2) for view in range(6) if pairing == "short_to_long" or long != view]
    same = [
        max(range(4), key=teacher[long, item].tolist().__getitem__) == max(range(4), key=student[view, item].tolist().__getitem__)
        for long, view in pairs
        for item in range(30)
    ]
    assert agreement(student, teacher, pairing).item() == pytest.approx(np.mean(same))
    assert 0 < np.mean(same) < 1


def test_the_history_says_how_much_clusterings_have_in_common(workshop, tmp_path):
    method = workshop.pretraining(epochs=4, cluster_aware={**AWARE, "every_epochs": 2, "start_epoch": 0})
    clusters, original = [], method.end_epoch

    def noting(epoch):
        clusters.append(method._clusters.numpy().copy())
        return original(epoch)

    method.end_epoch = noting
    rows = workshop.trained(method, tmp_path)
    found = [row["clusters_nmi"] for row in rows]
    assert found == [None, None, pytest.approx(normalized_mutual_info_score(clusters[0], clusters[2])), None]
    assert not np.array_equal(clusters[0], clusters[2])
    assert all(1 <= row["effective_dimensions"] <= ENCODER.embedding and 0 <= row["agreement"] <= 1 for row in rows)


def test_few_directions_are_warned_of_after_the_warm_up(workshop, tmp_path, monkeypatch):
    found = iter([1.5, 1.5, 8.0])
    monkeypatch.setattr(EmbeddingMoments, "close", lambda _: next(found))
    rows = workshop.trained(workshop.pretraining(), tmp_path)
    assert [row["effective_dimensions"] for row in rows] == [1.5, 1.5, 8.0]
    assert ["few directions" in row["warning"] for row in rows] == [False, True, False]
    assert few_directions(float("nan")) == ""


@pytest.mark.parametrize(
    ("accuracies", "warned"),
    [([0.2, 0.5, 0.9, 0.95], True), ([0.2, 0.89, 0.9, 0.95], False), ([0.2, 0.9, 0.5, 0.95], False)],
    ids=["still learning", "learnt", "falling"],
)
def test_a_gate_that_opens_while_labels_are_being_learnt_is_warned_of(accuracies, warned):
    """Also by a training that has been resumed meanwhile."""
    shares = {"tau1": None, "reliable": 0.5, "corrected": 0.2}
    gate = SimpleNamespace(opens_in=lambda epoch: epoch == 3, end_epoch=lambda _: shares, state_dict=dict, load_state_dict=lambda _: None)
    network = SimpleNamespace(warning="", state_dict=dict, load_state_dict=lambda _: None)
    modality, warnings = Modality("audio", network, gate, CPU), []
    for epoch, accuracy in enumerate(accuracies):
        modality.means.add(torch.tensor([accuracy if name == "accuracy" else 0.0 for name in FIGURES]))
        warnings.append(modality.end_epoch(epoch)["warning"])
        resumed = Modality("audio", network, gate, CPU)
        resumed.load_state_dict(modality.state_dict())
        modality = resumed
    assert warnings[:3] == ["", "", ""]
    assert ("too early" in warnings[3]) == warned == bool(early_gate(accuracies[1], accuracies[2]))


def test_a_round_knows_when_its_gate_opens(workshop):
    gates = [workshop.gated(gate={"mode": mode, "gate_start_epoch": 2}).modalities[0].gate for mode in ("dlg_lc", "fixed")]
    assert [[gate.opens_in(epoch) for epoch in range(4)] for gate in gates] == [[False, False, True, False], [False] * 4]


def test_snapshots_are_the_teacher_of_their_epochs_and_change_nothing(workshop, tmp_path):
    calm = workshop.pretraining(epochs=5)
    workshop.trained(calm, tmp_path / "calm")
    method, teachers = workshop.pretraining(epochs=5), {}

    def save(path, epochs):
        teachers[epochs] = {name: value.clone() for name, value in method.objective.teacher.encoder.state_dict().items()}
        save_model(path, ENCODER, FeatureSettings(), method.objective.encoder.state_dict(), epochs=epochs)

    snapshots = Snapshots.beside(tmp_path / "iter_0" / "model.pt", 2, save)
    fit(method, len(workshop.corpus), workshop.runtime(), StateFile(tmp_path, "test", "key"), [snapshots])
    files = sorted((tmp_path / "iter_0" / "snapshots").iterdir())
    assert [epoch_of(file) for file in files] == [2, 4] == list(teachers)
    for file in files:
        model = load_model(file)
        assert model.provenance["epochs"] == epoch_of(file)
        torch.testing.assert_close(model.encoder.state_dict(), teachers[epoch_of(file)], rtol=0, atol=0)
    torch.testing.assert_close(method.exported(), calm.exported(), rtol=0, atol=0)
    assert selfsv.load(files[0], "cpu").provenance["epochs"] == 2


@pytest.mark.parametrize(
    ("epochs", "tracker", "expected"), [(None, "none", [TensorBoard]), (2, "mlflow", [TensorBoard, Snapshots, Tracker])]
)
def test_followers_are_those_that_the_options_ask_for(epochs, tracker, expected, tmp_path):
    args = SimpleNamespace(model=tmp_path / "iter_0" / "model.pt", snapshot_epochs=epochs, tracker=tracker)
    found = followers_of(args, ENCODER, StateFile(tmp_path, "test", "key"), lambda path, epochs: None)
    assert [type(follower) for follower in found] == expected
