"""The history of predictions against counts made by hand, and what gate and labels make of it."""

from collections import Counter

import numpy as np
import pytest
import torch

from selfsv.engine.processes import Group
from selfsv.errors import InputError, SettingsError
from selfsv.losses.label_correction import CORRECTED, DROPPED, RELIABLE, CleanOutputs
from selfsv.methods.gate_tracker import GateTracker
from selfsv.methods.prediction_history import PredictionHistory
from selfsv.methods.round_start import read_start
from selfsv.models.encoders import untrained
from selfsv.models.model_file import save_model
from selfsv.settings.audio import FeatureSettings
from selfsv.settings.experiment import resolve
from selfsv.settings.jobs import TrainJob
from selfsv.settings.section import validated
from selfsv.settings.train import GateSettings, TrainSettings
from tests.settings.test_jobs import MINIMAL
from tests.training.workshop import CPU, ENCODER, TRAIN, Workshop


def test_the_commonest_prediction_of_the_last_epochs_is_found():
    rng = np.random.default_rng(0)
    history, seen = PredictionHistory(40, 5, Group(), CPU), []
    for epoch in range(8):
        predicted = rng.integers(0, 4, 40)
        seen.append(predicted)
        for part in np.array_split(rng.permutation(40), 3):
            history.record(epoch, torch.from_numpy(part), torch.from_numpy(predicted[part]))
    found, share = history.commonest(7)
    for utterance, (label, fraction) in enumerate(zip(found.tolist(), share.tolist(), strict=True)):
        last = [int(predicted[utterance]) for predicted in seen[-5:]][::-1]
        counts = Counter(last)
        expected = max(last, key=lambda one: (counts[one], -last.index(one)))
        assert label == expected
        assert fraction == pytest.approx(counts[expected] / 5)
    some, _ = history.commonest(7, torch.tensor([3, 1]))
    assert some.tolist() == [found[3], found[1]]


@pytest.mark.parametrize(("mode", "other"), [("dlg_lc", CORRECTED), ("dlg", DROPPED)])
def test_a_label_that_most_epochs_predicted_counts(mode, other):
    settings = GateSettings(mode=mode, trust="history", history_epochs=3, gate_start_epoch=3)
    history = PredictionHistory(3, 3, Group(), CPU)
    gate = GateTracker("audio", settings, np.ones(3, bool), Group(), CPU, history=history)
    everyone, labels = torch.arange(3), torch.tensor([0, 0, 0])
    for epoch, predicted in enumerate([[0, 1, 0], [0, 1, 1], [1, 0, 2]]):
        history.record(epoch, everyone, torch.tensor(predicted))
        gate.record(everyone, torch.tensor([0.1, 0.2, 3.0]), torch.full((3,), RELIABLE))
        gate.end_epoch(epoch)
    clean = CleanOutputs(torch.ones(3), torch.eye(3))
    assert gate.judge(clean, everyone, labels, 32.0, 2).decisions.tolist() == [RELIABLE] * 3  # before its first epoch
    assert gate.judge(clean, everyone, labels, 32.0, 3).decisions.tolist() == [RELIABLE, other, DROPPED]


def test_labels_become_what_is_predicted(packed, banks, packed_faces, tmp_path):
    """Of labels of which a few are wrong; a talker that is learnt is recognised in those, too."""
    workshop = Workshop(packed, banks, packed_faces)
    method = workshop.gated(epochs=4, relabel_start_epoch=3, gate={"mode": "none", "history_epochs": 3})
    before = method._labels.clone()
    workshop.trained(method, tmp_path)
    expected, _ = method._history.commonest(3)
    assert torch.equal(method._labels, expected)
    assert not torch.equal(method._labels, before)


def test_what_a_history_cannot_do_is_refused():
    with pytest.raises(SettingsError, match=r"gate_start_epoch is 2, but must be at least gate.history_epochs, 5"):
        validated(TrainSettings, {**TRAIN, "gate": {"trust": "history", "gate_start_epoch": 2}})
    with pytest.raises(SettingsError, match=r"relabel_start_epoch is 4, but must be at least gate.history_epochs, 5"):
        validated(TrainSettings, {**TRAIN, "relabel_start_epoch": 4})
    with pytest.raises(SettingsError, match=r"gate.trust is posterior, which takes gate.mode dlg or dlg_lc"):
        validated(TrainSettings, {**TRAIN, "gate": {"trust": "posterior", "mode": "fixed", "gate_start_epoch": 2}})
    for train in ({"start": "previous"}, {"gate": {"trust": "posterior"}}, {"relabel_start_epoch": 6}):
        with pytest.raises(SettingsError, match="modality: audio"):
            resolve({**MINIMAL, "modality": "audio_visual", "train": train})


def test_each_round_has_its_own_threshold_and_start():
    experiment = resolve(
        {
            **MINIMAL,
            "rounds": 3,
            "encoder": {"last_round": {"architecture": "resnet34"}},
            "train": {"start": "previous", "gate": {"mode": "fixed", "fixed_threshold": [1, 3, 5]}},
        }
    )
    jobs = [TrainJob.of_round(experiment, iteration).train for iteration in (1, 2, 3)]
    assert [job.gate.fixed_threshold for job in jobs] == [1.0, 3.0, 5.0]
    assert [job.start for job in jobs] == ["previous", "previous", "new"]  # the last round has another encoder
    with pytest.raises(SettingsError, match="fixed_threshold has 2 values for 3 rounds"):
        resolve({**MINIMAL, "rounds": 3, "train": {"gate": {"fixed_threshold": [1, 2]}}})


def test_a_round_goes_on_from_a_model_with_the_same_encoder_alone(tmp_path):
    def job(**changes) -> TrainJob:
        train = validated(TrainSettings, {**TRAIN, "start": "previous"})
        common = {"seed": 1, "features": FeatureSettings(), "augmentation": {}, "train": train}
        return TrainJob(encoder=ENCODER.model_copy(update=changes), **common)

    save_model(tmp_path / "model.pt", ENCODER, FeatureSettings(), untrained(ENCODER, 80, 1, 0).state_dict())
    labels, names = torch.tensor([0, 1]), np.array(["a", "b"])
    with pytest.raises(InputError, match=r"model\.pt has another encoder than this round"):
        read_start(tmp_path / "model.pt", tmp_path / "embeddings.parquet", labels, names, job(embedding=13))
    with pytest.raises(InputError, match="name that model and its embeddings"):
        read_start(None, None, labels, names, job())
