"""Both training methods on real voices: interruption, data workers, clusters, the recorded losses."""

import math
import os
import signal
from typing import Any

import numpy as np
import pytest
import torch

from selfsv.clustering.kmeans import spherical_kmeans
from selfsv.clustering.preparation import centred_unit
from selfsv.data.batches import ClusterPartners, TrainCrops, epoch_batches
from selfsv.data.features import LogMel
from selfsv.engine.checkpoints import TERMINATED, StateFile
from selfsv.engine.epochs import ExtraEpoch
from selfsv.engine.extraction import extract_embeddings
from selfsv.engine.loop import fit
from selfsv.engine.processes import Group
from selfsv.errors import InputError, TrainingError
from selfsv.losses.aam import aam_loss
from selfsv.losses.loss_gate import Mixture, crossing
from selfsv.methods import dlg_lc
from selfsv.settings.audio import FeatureSettings
from tests.training.workshop import METHODS, Workshop, assert_same, weights, without_time


@pytest.fixture(scope="module", autouse=True)
def _alone(one_thread):
    """All tests here."""


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


def test_clusters_are_drawn_from_as_the_schedule_says(workshop, tmp_path, monkeypatch):
    seen: list[ClusterPartners | None] = []
    method = workshop.pretraining(epochs=4, cluster_aware={"start_epoch": 2, "every_epochs": 1, "clusters": 6})
    views = method.objective.views
    monkeypatch.setattr(method.objective, "views", lambda partners: seen.append(partners) or views(partners))
    rows = workshop.trained(method, tmp_path)
    assert [partners is not None for partners in seen] == [False, False, True, True]
    assert [row["clusters"] for row in rows] == [0, 0, 6, 6]


def test_without_partners_nothing_is_clustered(workshop, tmp_path):
    """Not even where there are too few utterances for it."""
    method = workshop.pretraining(cluster_aware={"start_epoch": 0, "every_epochs": 1, "clusters": 10_000, "partners": "none"})
    assert [row["clusters"] for row in workshop.trained(method, tmp_path)] == [0, 0, 0]


def test_without_ema_the_teacher_is_a_copy_of_the_student(workshop, tmp_path):
    method = workshop.pretraining(dino={"ema": "none"}, epochs=1)
    workshop.trained(method, tmp_path)
    for teacher, student in zip(method.objective.teacher.parameters(), method.objective.student.parameters(), strict=True):
        assert torch.equal(teacher, student)


def test_last_layer_stands_still_at_first(workshop, tmp_path):
    method = workshop.pretraining(epochs=1)
    before = method.objective.student.head.prototypes.weight.detach().clone()
    workshop.trained(method, tmp_path)
    # Weight decay is part of the optimiser's step on a gradient, so nothing at all happens without one.
    assert torch.equal(method.objective.student.head.prototypes.weight, before)
    later = workshop.pretraining(epochs=1, optimiser={"freeze_last_layer_epochs": 0})
    workshop.trained(later, tmp_path / "later")
    assert not torch.equal(later.objective.student.head.prototypes.weight, before)


def test_the_recorded_loss_is_the_clean_one(workshop, tmp_path):
    """With a learning rate of next to nothing the losses of the epoch can be computed again from the clean segments alone."""
    still = {"learning_rate": 1e-30, "final_learning_rate": 1e-30}
    method = workshop.gated(epochs=1, batch_size=24, optimiser=still, aam={"margin_start_epoch": 0, "margin_full_epoch": 0})
    workshop.trained(method, tmp_path)
    recorded = method.losses(workshop.corpus.utterances)
    (indices,) = epoch_batches(1, 1, 0, len(workshop.corpus), 24)
    batch = TrainCrops(workshop.corpus, workshop.sampler, 1.0, 1, 1)[indices]
    waves = batch.clean.samples[0].float()
    features = LogMel(FeatureSettings())(waves / waves.abs().amax(dim=1, keepdim=True))
    network = method.modalities[0].network
    with torch.no_grad():
        cosines = network.classifier(network.encoder.train()(features))
        expected = aam_loss(cosines, method._labels[batch.utterances], 32.0, 0.2)
    np.testing.assert_allclose(recorded["loss_clean"].to_numpy()[indices.utterances], expected.numpy(), rtol=1e-4, atol=1e-5)
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
    method = workshop.gated(labels, epochs=2)
    assert all("one class" in row["warning"] for row in workshop.trained(method, tmp_path / "one"))
    assert not any("one class" in row["warning"] for row in workshop.trained(workshop.gated(epochs=2), tmp_path / "six"))


def test_a_loss_that_is_not_finite_ends_the_run_and_saves_nothing(workshop, tmp_path):
    method = workshop.gated(optimiser={"learning_rate": 1e30, "clip_gradient": 1e30})
    with pytest.raises(TrainingError, match="epoch 1: the loss or a weight is not finite"):
        workshop.trained(method, tmp_path)
    assert StateFile(tmp_path, "test", "key").load() is None


@pytest.mark.parametrize("name", ["pretraining", "gated", "audio-visual", "tuning"])
def test_weights_that_went_bad_in_the_last_step_are_not_saved(name, workshop, tmp_path):
    """Every loss so far is finite: that of the step was taken before its update."""
    method = METHODS[name](workshop)
    original = method.step

    def step_then_break(batch, progress):
        original(batch, progress)
        encoder = trained_encoder(method)
        next(encoder.parameters()).data[0] = math.nan
        os.kill(os.getpid(), signal.SIGTERM)

    method.step = step_then_break
    with pytest.raises(TrainingError, match="a weight is not finite"):
        workshop.trained(method, tmp_path)
    assert StateFile(tmp_path, "test", "key").load() is None


def trained_encoder(method) -> torch.nn.Module:
    if hasattr(method, "objective"):
        return method.objective.trained.encoder
    return (method.modalities[-1].network if hasattr(method, "modalities") else method.network).encoder


@pytest.mark.parametrize("processes", [1, 1000])
def test_too_few_utterances_are_refused_before_anything_is_trained(processes, workshop, tmp_path):
    utterances = 1 if processes == 1 else len(workshop.corpus)
    runtime = Workshop.runtime_of(Group(0, processes))
    with pytest.raises(InputError, match=f"{utterances} utterances are too few to train on with {processes} processes"):
        fit(workshop.gated(), utterances, runtime, StateFile(tmp_path, "test", "key"))


@pytest.mark.parametrize("name", ["pretraining", "gated", "tuning"])
def test_history_has_the_norm_before_clipping_and_the_rate_that_was_used(name, workshop, tmp_path):
    changes: dict[str, Any] = {"epochs": 2, "optimiser": {"clip_gradient": 1e-3, "warmup_epochs": 1}}
    rows = workshop.trained(getattr(workshop, name)(**changes), tmp_path)
    assert all(row["gradient_norm"] > 1e-3 for row in rows)
    assert all(0.5 < row["gradient_clipped"] <= 1 for row in rows)
    assert rows[0]["learning_rate"] > 0  # not the 0 that a warm-up begins with


def test_clusters_are_of_embeddings_prepared_as_for_the_pseudo_labels(workshop, tmp_path):
    aware = {"start_epoch": 1, "every_epochs": 1, "clusters": 6}
    method = workshop.pretraining({"subtract_mean": True, "whitening": 0.5}, epochs=2, cluster_aware=aware)
    embeddings, original = [], method.begin_epoch

    def begin_epoch(epoch: int):
        encoder, log_mel = method.objective.encoder, workshop.features.log_mel
        embeddings.append(extract_embeddings(encoder, log_mel, workshop.corpus, workshop.runtime()))
        return original(epoch)

    method.begin_epoch = begin_epoch
    workshop.trained(method, tmp_path)
    unit = centred_unit(embeddings[1], subtract_mean=True, whitening=0.5)
    effort: dict[str, Any] = {"iterations": 25, "points_per_cluster": 256, "restarts": 1, "seed": 1 + 1}
    expected = spherical_kmeans(unit, 6, **effort).labels
    assert (method._clusters.numpy() == expected).all()
    plain = spherical_kmeans(centred_unit(embeddings[1], subtract_mean=False), 6, **effort).labels
    assert (plain != expected).any()


def test_statistics_of_an_average_take_a_bounded_number_of_batches(workshop, tmp_path, monkeypatch):
    method = workshop.gated(average_last=2)
    workshop.trained(method, tmp_path)
    monkeypatch.setattr(dlg_lc, "INPUTS_FOR_STATISTICS", 4)
    read = []

    class Batches:
        def __iter__(self):
            for batch in ExtraEpoch(method, len(workshop.corpus), workshop.runtime()):
                read.append(batch)
                yield batch

    method.finish(Batches())
    assert len(read) == 2  # each gives a clean and an augmented one


def test_a_collapse_stops_the_run_where_asked_for(workshop, tmp_path):
    dino = {"ema": "none", "centre_momentum": 1.0, "cosine_weight": 50.0}
    optimiser = {"warmup_epochs": 0, "learning_rate": 20.0, "freeze_last_layer_epochs": 0}
    with pytest.raises(TrainingError, match="COLLAPSE"):
        workshop.trained(workshop.pretraining(epochs=12, dino=dino, optimiser=optimiser, on_collapse="stop"), tmp_path)


def test_redundancy_elimination_keeps_more_directions_of_the_embedding_in_use(workshop, tmp_path):
    def student_embeddings(method) -> np.ndarray:
        encoder, log_mel = method.objective.student.encoder, workshop.features.log_mel
        return extract_embeddings(encoder, log_mel, workshop.corpus, workshop.runtime())

    def directions(weight: float) -> float:
        """(sum of variances) squared over the sum of their squares: the number of directions, if all in use were used alike."""
        method = workshop.pretraining(dino={"redundancy_weight": weight}, optimiser={"learning_rate": 2.0, "warmup_epochs": 1}, epochs=6)
        workshop.trained(method, tmp_path / str(weight))
        variances = np.linalg.eigvalsh(np.cov(student_embeddings(method), rowvar=False))
        return variances.sum() ** 2 / np.square(variances).sum()

    assert directions(10.0) > 1.3 * directions(0.0)
