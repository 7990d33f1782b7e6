"""A training's history on an MLflow server, where `runtime.tracker` asks for it. Nothing that goes wrong there ends a training.

MLflow's own variables name the server and who we are there (MLFLOW_TRACKING_URI, MLFLOW_TRACKING_TOKEN, …). Its client keeps nothing open
between two epochs: no thread of it would be copied into the processes that read the crops.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from selfsv.engine.history import Counters, Row, numbers

log = logging.getLogger(__name__)

# A server that does not answer keeps an epoch waiting for seconds, not for the minutes of MLflow's defaults.
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",  # `file:` where the user names such a place
}
KEY, EPOCHS, UPDATES = "selfsv.training", "selfsv.epochs", "selfsv.updates"  # tags of a run: whose it is, and what it has so far
LONGEST_VALUE, MOST_AT_ONCE = 500, 100  # characters of a setting, settings of a request


class Tracker:
    """Sends rows of a history as they come. A training that is resumed goes on with its run.

    Args:
        experiment: its name on the server.
        run: what the training is called there.
        key: of the training: the same settings and inputs have the same one.
        settings: of the training, shown as parameters of the run.
    """

    def __init__(self, experiment: str, run: str, key: str, settings: Mapping[str, Any]):
        self._names, self._key, self._settings = (experiment, run), f"{run}-{key}", settings
        self._client: Any = None
        self._run = ""
        self._epochs, self._updates, self._off = 0, 0, False

    def after_epoch(self, counters: Counters) -> None:
        """Send what the server does not have yet."""
        self._attempt(lambda: self._send(counters.rows, counters.curve))

    def finish(self) -> None:
        """Mark the run as finished."""
        self._attempt(lambda: self._client and self._client.set_terminated(self._run))

    def _attempt(self, request: Any) -> None:
        """Make a request; the first one that fails is the last."""
        if self._off:
            return
        try:
            request()
        except ImportError:
            self._give_up("the package mlflow is not installed here: pip install '.[track]'")
        except Exception as error:
            self._give_up(f"{' '.join(str(error).split())[:300]} (MLFLOW_TRACKING_URI names the server)")

    def _give_up(self, reason: str) -> None:
        self._off = True
        log.warning("runtime.tracker: the history is no longer sent to MLflow, and the training goes on: %s", reason)

    def _send(self, rows: Sequence[Row], curve: Sequence[Sequence[float]]) -> None:
        if self._client is None:
            self._open(begun_anew=len(rows) == 1)
        entities, now = import_module("mlflow.entities"), round(1000 * time.time())
        metrics = [(name, value, row["epoch"]) for row in rows[self._epochs :] for name, value in numbers(row)]
        metrics += [("steps/loss", loss, int(step)) for step, loss in curve if step > self._updates]
        sent = [entities.Metric(name, value, now, step) for name, value, step in metrics]
        for start in range(0, len(sent), 1000):  # the most that a request may have
            self._client.log_batch(self._run, metrics=sent[start : start + 1000])
        self._epochs, self._updates = max(self._epochs, len(rows)), int(curve[-1][0]) if curve else self._updates
        done = {EPOCHS: self._epochs, UPDATES: self._updates}
        self._client.log_batch(self._run, tags=[entities.RunTag(name, str(value)) for name, value in done.items()])

    def _open(self, *, begun_anew: bool) -> None:
        """Find this training's run, or make one."""
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        client, (experiment, name) = import_module("mlflow").MlflowClient(), self._names
        known = client.get_experiment_by_name(experiment)
        place = known.experiment_id if known else client.create_experiment(experiment)
        for run in client.search_runs([place], filter_string=f"tags.`{KEY}` = '{self._key}'", max_results=1):
            epochs, updates = (int(run.data.tags.get(tag, 0)) for tag in (EPOCHS, UPDATES))
            if not (begun_anew and epochs > 1):
                self._client, self._run, self._epochs, self._updates = client, run.info.run_id, epochs, updates
                client.update_run(self._run, status="RUNNING")
                return
        self._run = client.create_run(place, run_name=name, tags={KEY: self._key}).info.run_id
        parameters = [import_module("mlflow.entities").Param(*setting) for setting in flat(self._settings)]
        for start in range(0, len(parameters), MOST_AT_ONCE):
            client.log_batch(self._run, params=parameters[start : start + MOST_AT_ONCE])
        self._client = client


def flat(settings: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings by their keys, with dots."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", str(value)[:LONGEST_VALUE]
