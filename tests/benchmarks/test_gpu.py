"""The measurements on a borrowed GPU: bounded stages, refusals, the made-up corpus, and that the settings still resolve."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import bounded, gpu_accuracy, gpu_quarter, numerics, systems_speed, training_speed
from benchmarks.bounded import SAVE, Session, Stage, refuse_without_gpu
from benchmarks.speed_corpus import Size, corpus_in
from selfsv.data.banks import NOISE_KINDS, load_bank
from selfsv.settings.pretrain import PretrainSettings
from selfsv.settings.section import validated
from tests.benchmarks.command_lines import assert_understood

REPOSITORY = Path(__file__).parents[2]
WRITE = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('{\"rate\": 3}')"


def python(name: str, code: str, seconds: float = 30.0) -> Stage:
    return Stage(name, seconds, [sys.executable, "-c", code, SAVE])


def report(folder: Path) -> dict:
    return json.loads((folder / "test.json").read_text())


def test_neither_a_failure_nor_a_hang_costs_the_other_stages(tmp_path):
    session = Session("test", tmp_path, 60.0, {"device": "a card"})
    place = repr(str(tmp_path / "pid"))
    orphan = f"import subprocess, time; child = subprocess.Popen(['sleep', '600']); open({place}, 'w').write(str(child.pid))"
    assert not session.run(python("fails", f"{WRITE}; raise SystemExit(3)"))
    assert not session.run(python("hangs", f"{orphan}; time.sleep(600)", seconds=3.0))
    assert not session.run(Stage("missing", 5.0, ["/nowhere/program"]))
    assert session.run(python("works", WRITE))
    stages = report(tmp_path)["stages"]
    assert [stages[name]["status"] for name in ("fails", "hangs", "missing", "works")] == ["failed", "timed out", "skipped", "done"]
    assert stages["fails"]["figures"] == stages["works"]["figures"] == {"rate": 3}  # what a stage found before it failed counts
    assert report(tmp_path)["about"] == {"device": "a card"}
    assert not alive(int((tmp_path / "pid").read_text()))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_no_stage_outlasts_the_session(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "LEAST", 1.0)
    session = Session("test", tmp_path, 2.0, {})
    start = time.monotonic()
    assert not session.run(python("long", "import time; time.sleep(600)", seconds=600.0))
    assert not session.run(python("late", WRITE))
    assert time.monotonic() - start < 15
    assert {name: stage["status"] for name, stage in report(tmp_path)["stages"].items()} == {"long": "timed out", "late": "skipped"}


def test_without_a_gpu_only_a_rehearsal_runs():
    refuse_without_gpu(available=True, small=False)
    refuse_without_gpu(available=False, small=True)
    with pytest.raises(SystemExit, match="--small"):
        refuse_without_gpu(available=False, small=False)


def test_the_made_up_corpus_has_the_sizes_asked_for(tmp_path):
    corpus = corpus_in(tmp_path, Size(40, 2.0, 0.5, 6))
    voices = corpus.opened()
    assert len(voices) == 40 and set(voices.num_samples) == {32000}
    noise, rooms = load_bank(corpus.noise), load_bank(corpus.rirs)
    minutes = np.bincount(noise.kind.numpy(), noise.length.numpy(), len(NOISE_KINDS)) / 16000 / 60
    assert (np.abs(minutes - 0.5) < 0.3).all()
    assert len(rooms) == 6 and rooms.length.max() <= 16000
    assert all(abs(int(rooms.segment(index)[0])) == 32767 for index in range(6))  # the direct path comes first and is the loudest
    assert (corpus.opened_faces(voices).count == 8).all()


class Noted:
    """Takes a session's place and notes what would be run."""

    def __init__(self, *, succeeds: bool = False) -> None:
        self.outcome: dict = {"stages": {}}
        self.succeeds = succeeds
        self.stages: list[Stage] = []

    def run(self, *stages: Stage) -> bool:
        self.stages += stages
        return self.succeeds


@pytest.mark.parametrize("small", [False, True])
def test_every_stage_of_the_quarter_has_options_that_its_script_knows(small):
    noted = Noted()
    gpu_quarter.measure(noted, argparse_of(gpu_quarter, ["out", *(["--small"] if small else [])]), Path("folder"))
    assert len({stage.name for stage in noted.stages}) == len(noted.stages) > 10
    scripts = {"training_speed.py": training_speed, "numerics.py": numerics}
    for stage in noted.stages:
        parsed = argparse_of(scripts[Path(stage.command[1]).name], stage.command[2:])
        assert parsed.small == small and parsed.save == Path(SAVE)


def test_every_training_takes_two_steps(tmp_path):
    """As the first stage of the quarter has it, with a smaller encoder: the measurements keep up with the trainings."""
    argv = ["--into", str(tmp_path), *gpu_quarter.SMALL, "--utterances", "40", "--noise-minutes", "0.5", "--compile", "0", "--threads", "1"]
    bench = training_speed.opened(argparse_of(training_speed, argv))
    outcome = training_speed.two_steps(bench)
    assert set(outcome) == {"pretrain", "round", "audio_visual", "large_margin"}
    assert not training_speed.failed(outcome), outcome
    assert training_speed.failed({"pretrain": {"finite": False}}) and training_speed.failed({"round": {"error": "no memory"}})


def test_a_stage_that_fails_is_saved_with_its_error():
    def broken() -> dict:
        raise MemoryError("no memory\nat all")

    assert training_speed.attempted(broken) == {"error": "MemoryError: no memory"}


def argparse_of(module, options: list[str]):
    argv = ["program", *options]
    original, sys.argv = sys.argv, argv
    try:
        return module.arguments()
    finally:
        sys.argv = original


@pytest.mark.parametrize("small", [False, True])
def test_the_accuracy_experiment_resolves_as_the_workflow_would(small):
    experiment = gpu_accuracy.experiment_of(small=small)
    assert list(experiment.corpora) == ["train", "test"] and list(experiment.trials) == ["demo"]
    assert experiment.pretrain.dino.pairing == "all_but_same" and experiment.rounds == 1 and experiment.pack.shards == 2
    if not small:
        assert experiment.encoder.channels == 512 and experiment.pretrain.epochs * 1225 == 121_275


def test_every_stage_of_the_accuracy_run_has_options_that_its_script_knows(tmp_path, monkeypatch):
    noted = Noted(succeeds=True)
    assert gpu_accuracy.Run(noted, gpu_accuracy.experiment_of(small=False), tmp_path, slower=1.0).everything()
    assert len(noted.stages) == 11 + 2 * 4 + 1  # data and CA-DINO, then of each model two extractions, clusters and scores, and the round
    for stage in noted.stages:
        _, _, module, *options = stage.command
        assert_understood(module, options, monkeypatch)


def test_systems_are_measured_each_by_itself(tmp_path, monkeypatch):
    assert "skipped" in systems_speed.objectives(None, None, tmp_path)
    texts = {"one": "{epochs: 3}", "other": "{method: sdpn, epochs: 2}", "unheard": "{method: unheard}", "torn": "["}
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(f"pretrain: {text}")

    def adapted(_, changes: dict[str, Any]) -> SimpleNamespace:
        return SimpleNamespace(experiment=SimpleNamespace(pretrain=validated(PretrainSettings, changes["pretrain"])))

    monkeypatch.setattr(systems_speed, "adapted", adapted)
    monkeypatch.setattr(systems_speed, "pretraining", lambda system: system.experiment.pretrain)
    found = systems_speed.objectives(None, lambda _, method, __: {"utterances_per_second": method.epochs}, tmp_path)
    assert found["one"] == {"method": "dino", "utterances_per_second": 3}
    assert found["other"] == {"method": "sdpn", "utterances_per_second": 2}
    assert "unheard" in found["unheard"]["error"] and "error" in found["torn"]
