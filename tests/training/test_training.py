"""Both training methods on real voices: interruption, data workers, clusters, the recorded losses."""

import os
import signal
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.audio.crops import ClusterPartners
from pipeline.audio.features import LogMel
from pipeline.errors import TrainingError
from pipeline.losses.aam import aam_loss
from pipeline.losses.loss_gate import Mixture, crossing
from pipeline.models.ecapa import untrained
from pipeline.settings.audio import FeatureSettings
from pipeline.settings.section import validated
from pipeline.settings.train import TrainSettings
from pipeline.training.batches import TrainCrops, visits
from pipeline.training.branch import Branch
from pipeline.training.gated import GatedTraining
from pipeline.training.loop import TERMINATED
from pipeline.training.state import StateFile
from tests.training.workshop import ENCODER, METHODS, TRAIN, Workshop, assert_same, weights, without_time


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def workshop(packed, banks, packed_faces) -> Workshop:
    return Workshop(packed, banks, packed_faces)


@pytest.mark.parametrize("name", METHODS)
def test_a_terminated_training_ends_as_if_it_had_never_been(name, workshop, tmp_path):
    undisturbed = METHODS[name](workshop)
    expected = workshop.trained(undisturbed, tmp_path / "undisturbed")
    for step in (2, 4):  # in the middle of the first and of a later epoch; counted from the last restart
        method = METHODS[name](workshop)
        original, taken = method.step, []

        def step_then_signal(batch, progress, original=original, taken=taken, last=step):
            original(batch, progress)
            taken.append(progress)
            if len(taken) == last:
                os.kill(os.getpid(), signal.SIGTERM)

        method.step = step_then_signal
        with pytest.raises(SystemExit) as ended:
            workshop.trained(method, tmp_path / "killed")
        assert ended.value.code == TERMINATED
    resumed = METHODS[name](workshop)
    rows = workshop.trained(resumed, tmp_path / "killed")
    assert_same(weights(resumed), weights(undisturbed))
    assert without_time(rows) == without_time(expected)
    if hasattr(resumed, "gate_rows"):
        assert resumed.gate_rows == undisturbed.gate_rows


@pytest.mark.parametrize("name", ["cluster-aware", "gated", "audio-visual"])
def test_data_workers_do_not_change_the_model(name, workshop, tmp_path):
    alone, helped = METHODS[name](workshop), METHODS[name](workshop)
    workshop.trained(alone, tmp_path / "0")
    workshop.trained(helped, tmp_path / "2", workers=2)
    assert_same(weights(alone), weights(helped))


def test_training_learns(workshop, tmp_path):
    no_margin = {"margin": 0.0, "margin_start_epoch": 0, "margin_full_epoch": 1}
    optimiser = {"learning_rate": 0.03, "final_learning_rate": 0.01}
    rows = workshop.trained(workshop.gated(epochs=20, gate={"mode": "none"}, aam=no_margin, optimiser=optimiser), tmp_path)
    assert np.mean([row["loss"] for row in rows[-5:]]) < 0.6 * rows[0]["loss"]


def test_clusters_are_drawn_from_as_the_schedule_says(workshop, tmp_path):
    seen: list[ClusterPartners | None] = []
    method = workshop.pretraining(seen, epochs=4, cluster_aware={"start_epoch": 2, "every_epochs": 1, "clusters": 6})
    rows = workshop.trained(method, tmp_path)
    assert [partners is not None for partners in seen] == [False, False, True, True]
    assert [row["clusters"] for row in rows] == [0, 0, 6, 6]


def test_without_ema_the_teacher_is_a_copy_of_the_student(workshop, tmp_path):
    method = workshop.pretraining(dino={"ema": "none"}, epochs=1)
    workshop.trained(method, tmp_path)
    for teacher, student in zip(method.teacher.parameters(), method.student.parameters(), strict=True):
        assert torch.equal(teacher, student)


def test_last_layer_stands_still_at_first(workshop, tmp_path):
    method = workshop.pretraining(epochs=1)
    before = method.student.head.prototypes.weight.detach().clone()
    workshop.trained(method, tmp_path)
    # Weight decay is part of the optimiser's step on a gradient, so nothing at all happens without one.
    assert torch.equal(method.student.head.prototypes.weight, before)
    later = workshop.pretraining(epochs=1, optimiser={"freeze_last_layer_epochs": 0})
    workshop.trained(later, tmp_path / "later")
    assert not torch.equal(later.student.head.prototypes.weight, before)


def test_the_recorded_loss_is_the_clean_one(workshop, tmp_path):
    """With a learning rate of next to nothing the losses of the epoch can be computed again from the clean segments alone."""
    still = {"learning_rate": 1e-30, "final_learning_rate": 1e-30}
    method = workshop.gated(epochs=1, batch_size=24, optimiser=still, aam={"margin_start_epoch": 0, "margin_full_epoch": 0})
    workshop.trained(method, tmp_path)
    recorded = method.losses(workshop.corpus.utterances)
    (visit,) = visits(1, 1, 0, len(workshop.corpus), 24)
    batch = TrainCrops(workshop.corpus, workshop.planner, 1.0, 1, 1)[visit]
    waves = batch.clean.crops[0].float()
    features = LogMel(FeatureSettings())(waves / waves.abs().amax(dim=1, keepdim=True))
    with torch.no_grad():
        cosines = method.voice.classifier(method.voice.encoder.train()(features))
        expected = aam_loss(cosines, method._labels[batch.utterances], 32.0, 0.2)
    np.testing.assert_allclose(recorded["loss_clean"].to_numpy()[visit.utterances], expected.numpy(), rtol=1e-4, atol=1e-5)
    assert list(recorded["utterance"]) == list(workshop.corpus.utterances)


def fit_of(row: dict[str, Any]) -> Mixture:
    pairs = ((row[f"{name}_1"], row[f"{name}_2"]) for name in ("weight", "mean", "variance"))
    return Mixture(*pairs)


@pytest.mark.parametrize("mode", ["none", "fixed", "dlg", "dlg_lc"])
def test_gate_modes(mode, workshop, tmp_path):
    method = workshop.gated(epochs=3, gate={"mode": mode, "gate_start_epoch": 2, "fixed_threshold": 3.0})
    rows = workshop.trained(method, tmp_path)
    fitted = [np.exp(crossing(fit_of(row))) if row["status"] == "fitted" else None for row in method.gate_rows]
    expected = {"none": None, "fixed": 3.0, "dlg": fitted[1], "dlg_lc": fitted[1]}[mode]
    assert [row["tau1"] for row in rows] == [None, None, expected]
    assert [row["reliable"] for row in rows[:2]] == [1.0, 1.0]
    if mode == "fixed":
        losses = method.losses(workshop.corpus.utterances)
        assert ((losses["loss_clean"] < 3.0) == (losses["decision"] == "reliable")).all()
    if mode in ("none", "fixed", "dlg"):
        assert rows[2]["corrected"] == 0.0
    for row in method.gate_rows:
        assert row["reliable"] + row["corrected"] + row["dropped"] == pytest.approx(1.0)


def test_labels_of_one_class_are_warned_of(workshop, tmp_path):
    labels = torch.zeros(len(workshop.corpus), dtype=torch.int64)
    settings = validated(TrainSettings, {**TRAIN, "epochs": 2})
    voice = Branch("audio", settings, untrained(ENCODER, 80, 1, 1), 12, 1, np.ones(len(labels), bool), workshop.runtime())
    method = GatedTraining(settings, voice, labels, 1, 1, workshop.features, workshop.segments(settings))
    assert all("one class" in row["warning"] for row in workshop.trained(method, tmp_path / "one"))
    assert not any("one class" in row["warning"] for row in workshop.trained(workshop.gated(epochs=2), tmp_path / "six"))


def test_a_loss_that_is_not_finite_ends_the_run_and_saves_nothing(workshop, tmp_path):
    method = workshop.gated(optimiser={"learning_rate": 1e30, "clip_gradient": 1e30})
    with pytest.raises(TrainingError, match="epoch 1: the loss is not finite"):
        workshop.trained(method, tmp_path)
    assert StateFile(tmp_path, "test", "key").load() is None


def test_a_collapse_stops_the_run_where_asked_for(workshop, tmp_path):
    dino = {"ema": "none", "centre_momentum": 1.0, "cosine_weight": 50.0}
    optimiser = {"warmup_epochs": 0, "learning_rate": 20.0, "freeze_last_layer_epochs": 0}
    with pytest.raises(TrainingError, match="COLLAPSE"):
        workshop.trained(workshop.pretraining(epochs=12, dino=dino, optimiser=optimiser, on_collapse="stop"), tmp_path)


def test_redundancy_elimination_keeps_more_directions_of_the_embedding_in_use(workshop, tmp_path):
    def directions(weight: float) -> float:
        """(sum of variances) squared over the sum of their squares: the number of directions, if all in use were used alike."""
        method = workshop.pretraining(dino={"redundancy_weight": weight}, optimiser={"learning_rate": 2.0, "warmup_epochs": 1}, epochs=6)
        workshop.trained(method, tmp_path / str(weight))
        variances = np.linalg.eigvalsh(np.cov(method._extract(method.student.encoder), rowvar=False))
        return variances.sum() ** 2 / np.square(variances).sum()

    assert directions(10.0) > 1.3 * directions(0.0)
