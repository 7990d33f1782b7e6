"""A training's history on an MLflow server: on MLflow's own store of files where it is installed, and on a stand-in of its client."""

import logging
import sys
from collections import defaultdict
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import pytest

from selfsv.engine import tracker as module
from selfsv.engine.checkpoints import StateFile
from selfsv.engine.history import Counters
from selfsv.engine.loop import fit
from selfsv.engine.tracker import Tracker, flat


class Metric(NamedTuple):
    key: str
    value: float
    timestamp: int
    step: int


class Pair(NamedTuple):
    key: str
    value: str


class Client:
    """As much of MlflowClient as is used, in memory."""

    runs: dict[str, SimpleNamespace]
    places: dict[str, str]

    def get_experiment_by_name(self, name):
        return SimpleNamespace(experiment_id=self.places[name]) if name in self.places else None

    def create_experiment(self, name):
        return self.places.setdefault(name, str(len(self.places)))

    def search_runs(self, experiment_ids, filter_string, max_results):
        name, value = filter_string.removeprefix("tags.`").removesuffix("'").split("` = '")
        found = [run for run in self.runs.values() if run.info.experiment_id in experiment_ids and run.data.tags.get(name) == value]
        return found[::-1][:max_results]

    def create_run(self, experiment_id, run_name, tags):
        info = SimpleNamespace(run_id=f"run{len(self.runs)}", experiment_id=experiment_id, run_name=run_name, status="RUNNING")
        data = SimpleNamespace(tags=dict(tags), params={}, history=defaultdict(list))
        self.runs[info.run_id] = SimpleNamespace(info=info, data=data)
        return self.runs[info.run_id]

    def log_batch(self, run_id, metrics=(), params=(), tags=()):
        data = self.runs[run_id].data
        data.params |= {param.key: param.value for param in params}
        data.tags |= {tag.key: tag.value for tag in tags}
        for metric in metrics:
            data.history[metric.key].append(metric)

    def get_metric_history(self, run_id, key):
        return self.runs[run_id].data.history[key]

    def get_run(self, run_id):
        return self.runs[run_id]

    def update_run(self, run_id, status):
        self.runs[run_id].info.status = status

    def set_terminated(self, run_id):
        self.runs[run_id].info.status = "FINISHED"


@pytest.fixture(params=["stand-in", "mlflow"])
def client(request, tmp_path, monkeypatch):
    """A client of an empty server, to look at what is there."""
    if request.param == "stand-in":
        mlflow, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
        mlflow.MlflowClient = type("Fresh", (Client,), {"runs": {}, "places": {}})
        entities.Metric, entities.Param, entities.RunTag = Metric, Pair, Pair
        monkeypatch.setitem(sys.modules, "mlflow", mlflow)
        monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
        return mlflow.MlflowClient()
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "server").as_uri())
    return mlflow.MlflowClient()


def runs(client):
    """All runs of the experiment, the first one first."""
    place = client.get_experiment_by_name("voices").experiment_id
    found = client.search_runs([place], filter_string=f"tags.`{module.KEY}` = 'iter_0-k'", max_results=9)
    return sorted(found, key=lambda run: int(run.data.tags[module.EPOCHS]), reverse=True)


def points(client, run, name):
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name))


def after(epochs, curve):
    rows = [{"epoch": epoch, "loss": 1.0 / (epoch + 1), "tau1": None, "warning": ""} for epoch in range(epochs)]
    return Counters(epochs, rows=rows, curve=curve)


def tracker():
    return Tracker("voices", "iter_0", "k", {"pretrain": {"epochs": 3, "crops": {"long_seconds": 2.5}}, "seed": 1})


def test_a_run_has_all_epochs_and_the_settings(client):
    sent = tracker()
    for count in (1, 2, 3):
        sent.after_epoch(after(count, [[20 * number, 7.0 + number] for number in range(1, count + 1)]))
    sent.finish()
    (run,) = runs(client)
    assert points(client, run, "loss") == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
    assert points(client, run, "steps/loss") == [(20, 8.0), (40, 9.0), (60, 10.0)]
    data = client.get_run(run.info.run_id).data
    assert dict(data.params) == {"pretrain.epochs": "3", "pretrain.crops.long_seconds": "2.5", "seed": "1"}
    assert client.get_run(run.info.run_id).info.status == "FINISHED" and run.info.run_name == "iter_0"


def test_a_resumed_training_goes_on_with_its_run(client):
    """Its last epoch may have been sent before it was killed: no point is there twice."""
    tracker().after_epoch(after(1, [[20, 8.0]]))
    tracker().after_epoch(after(2, [[20, 8.0], [40, 9.0]]))
    tracker().after_epoch(after(2, [[20, 8.0], [40, 9.0]]))
    (run,) = runs(client)
    assert points(client, run, "loss") == [(0, 1.0), (1, 0.5)] and points(client, run, "steps/loss") == [(20, 8.0), (40, 9.0)]


def test_a_training_begun_anew_has_a_run_of_its_own(client):
    first = tracker()
    first.after_epoch(after(1, []))
    first.after_epoch(after(2, []))
    tracker().after_epoch(after(1, []))
    assert [len(points(client, run, "loss")) for run in runs(client)] == [2, 1]


def test_without_the_package_a_training_goes_on_with_one_warning(workshop, tmp_path, caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with caplog.at_level(logging.WARNING):
        state = StateFile(tmp_path, "a", "k")
        found = fit(workshop.gated(epochs=3), len(workshop.corpus), workshop.runtime(), state, [tracker()])
    assert len(found) == 3 and [message for message in caplog.messages if "pip install '.[track]'" in message] == caplog.messages[:1]
    assert sum("tracker" in message for message in caplog.messages) == 1


def test_a_training_sends_its_own_history(client, workshop, tmp_path):
    method, state = workshop.gated(epochs=3), StateFile(tmp_path, "a", "k")
    found = fit(method, len(workshop.corpus), workshop.runtime(), state, [tracker()])
    (run,) = runs(client)
    assert [value for _, value in points(client, run, "loss")] == pytest.approx([row["loss"] for row in found])
    assert client.get_run(run.info.run_id).info.status == "FINISHED"


@pytest.mark.skipif(not find_spec("mlflow"), reason="needs MLflow")
def test_a_server_that_does_not_answer_costs_a_warning(caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    sent = tracker()
    with caplog.at_level(logging.WARNING, logger="selfsv"):
        sent.after_epoch(after(1, []))
        sent.after_epoch(after(2, []))
        sent.finish()
    (message,) = [message for message in caplog.messages if "runtime.tracker" in message]
    assert "MLFLOW_TRACKING_URI" in message and "127.0.0.1" in message


def test_settings_are_flat():
    settings = {"a": {"b": [1, 2], "c": {}}, "d": None, "e": "x" * 900}
    assert dict(flat(settings)) == {"a.b": "[1, 2]", "a.c": "{}", "d": "None", "e": "x" * 500}
