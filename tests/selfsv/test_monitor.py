"""`selfsv monitor`: snapshots of a training under way, scored as `selfsv score` does."""

import json

import pandas as pd
import pytest

from selfsv.__main__ import main
from selfsv.cli import monitor
from selfsv.models.encoders import untrained
from selfsv.models.model_file import save_model
from selfsv.settings.audio import FeatureSettings
from tests.selfsv.conftest import ENCODER, VOICES
from tests.selfsv.test_commands import trial_list


def snapshot(folder, system: str, epoch: int):
    path = folder / system / "snapshots" / f"epoch-{epoch:04d}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(path, ENCODER, FeatureSettings(), untrained(ENCODER, 80, 1, epoch).state_dict(), stage="pretrain", epochs=epoch)
    return path


@pytest.fixture
def call(experiment, tmp_path, capsys):
    trials = trial_list(tmp_path / "trials.txt", experiment)
    common = ["--audio", str(VOICES), "--device", "cpu", "--threads", "1"]

    def run(*words: object, where: bool = True) -> tuple[int, str, str]:
        status = main([*map(str, words), *(common if where else [])])
        return status, *capsys.readouterr()

    run.trials = trials  # type: ignore[attr-defined]
    return run


def test_each_snapshot_has_the_error_rates_that_score_gives(call, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    paths = [snapshot(folder, "iter_0", 2), snapshot(folder, "iter_0", 10), snapshot(folder, "iter_1", 5)]
    status, text, _ = call("monitor", folder, "--trials", call.trials, "--json")
    rows = json.loads(text)
    assert status == 0 and [(row["system"], row["epoch"]) for row in rows] == [("iter_0", 2), ("iter_0", 10), ("iter_1", 5)]
    for path, row in zip(paths, rows, strict=True):
        expected = json.loads(call("score", call.trials, "--model", path, "--norm", "cosine", "--json")[1])["cosine"]
        assert (row["eer"], row["min_dcf"]) == (expected["eer"], expected["min_dcf"])
    assert len({row["eer"] for row in rows}) > 1

    scored = []
    original = monitor.embedded_trials
    monkeypatch.setattr(monitor, "embedded_trials", lambda model, *more: scored.append(model.name) or original(model, *more))
    newer = snapshot(folder, "iter_1", 7)
    status, text, _ = call("monitor", folder, "--trials", call.trials)
    assert status == 0 and scored == [str(newer)] and len(text.splitlines()) == 5
    kept = pd.read_parquet(folder / "monitor.parquet")
    assert list(kept) == ["system", "epoch", "trials", "fingerprint", "eer", "min_dcf"] and len(kept) == 4
    # Another training of the same name writes over it: its figures take the place of the old ones.
    newer.write_bytes(snapshot(folder, "iter_1", 8).read_bytes())
    call("monitor", folder, "--trials", call.trials)
    assert sorted(scored[1:]) == [str(newer), str(newer).replace("0007", "0008")]
    kept = pd.read_parquet(folder / "monitor.parquet").set_index(["system", "epoch"])
    assert len(kept) == 5 and kept.loc["iter_1", 7]["eer"] == kept.loc["iter_1", 8]["eer"]


def test_a_run_without_snapshots_is_told_how_to_have_some(call, tmp_path):
    (tmp_path / "empty").mkdir()
    status, _, messages = call("monitor", tmp_path / "empty", "--trials", call.trials)
    assert status == 2 and "runtime.snapshot_epochs" in messages
