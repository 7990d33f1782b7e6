"""Stage I before its first clustering, shared by trainings whose clusters alone differ: as if each had been alone, once."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from selfsv.engine.checkpoints import StateFile
from selfsv.engine.loop import fit
from selfsv.engine.shared_start import SharedStart
from selfsv.settings.clustering import PreparationSettings
from selfsv.settings.jobs import PretrainJob
from tests.conftest import REPOSITORY
from tests.training.workshop import AWARE, Workshop, assert_same, weights, without_time

START = {**AWARE, "start_epoch": 2}
TRY = """
import sys
from selfsv.locking import try_lock
print(try_lock(open(sys.argv[1], "a+")))
"""


@pytest.fixture(scope="module")
def workshop(packed, banks, packed_faces) -> Workshop:
    return Workshop(packed, banks, packed_faces)


def shared(folder: Path, key: str) -> SharedStart:
    return SharedStart(StateFile(folder / key, "pretrain", key), StateFile(folder / "starts", "start", "both"), START["start_epoch"])


def test_each_training_is_what_it_would_be_alone(workshop, tmp_path, caplog):
    def trained(clusters, state):
        method = workshop.pretraining(epochs=4, cluster_aware={**START, "clusters": clusters})
        rows = fit(method, len(workshop.corpus), workshop.runtime(), state)
        return method, rows

    trained(6, shared(tmp_path, "first"))
    with caplog.at_level(logging.INFO):
        method, rows = trained(9, shared(tmp_path, "second"))
    assert "goes on at epoch 2" in caplog.text  # the last step of the start's last epoch
    alone, expected = trained(9, StateFile(tmp_path, "alone", "key"))
    assert without_time(rows) == without_time(expected)
    assert_same(weights(method), weights(alone))


def test_one_training_at_a_time_goes_through_the_start(tmp_path):
    def is_free() -> str:
        command = [sys.executable, "-c", TRY, tmp_path / "starts" / "start-both.lock"]
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()

    state = shared(tmp_path, "first")
    with state.held(1):
        state.save({"counters": {"epoch": 1}})
        assert is_free() == "False"
        state.save({"counters": {"epoch": 2}})
        assert is_free() == "True"
    assert shared(tmp_path, "second").load() == {"counters": {"epoch": 1}}
    assert shared(tmp_path, "first").load() == {"counters": {"epoch": 2}}
    with shared(tmp_path, "first").held(1):  # it has left the start behind
        assert is_free() == "True"


def test_the_start_depends_on_when_clusters_are_made_not_on_how(workshop):
    def start(whitening=0.0, **changes) -> str:
        method = workshop.pretraining(cluster_aware={**START, **changes.pop("cluster_aware", {})}, **changes)
        preparation = PreparationSettings(whitening=whitening)
        return PretrainJob(**workshop.job(pretrain=method.settings, preparation=preparation)).before_clusters().to_json()

    later = ({"clusters": 9}, {"every_epochs": 2}, {"partners": "none"})
    same = [start(), start(whitening=0.5), *(start(cluster_aware=one) for one in later)]
    others = [start(cluster_aware={"start_epoch": 1}), start(optimiser={"learning_rate": 0.3}), start(epochs=7)]
    assert len(set(same)) == 1
    assert len({same[0], *others}) == 4
