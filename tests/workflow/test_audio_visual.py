"""The audio-visual variant of the workflow: what it adds, and that an audio-only user pays nothing for it."""

import re
import shutil
from itertools import pairwise

import pytest

from selfsv.scoring.systems import BASELINES
from selfsv.settings.data import Corpus
from selfsv.settings.faces import DetectionSettings
from selfsv.settings.jobs import TrainAvJob
from tests.benchmarks.command_lines import assert_understood
from tests.workflow.conftest import Workshop, build
from workflow.imports import external_modules, source_files

VISUAL = {"adopt", "videos", "faces", "face_manifest", "train_av", "extract_av", "modalities"}
AUDIO_STAGES = (
    *("listing", "pack", "manifest", "pretrain", "train", "extract", "cluster", "score", "quality", "metrics"),
    *("extract_parts", "diagnose"),
)


def seeing(workshop: Workshop, **changes: object) -> None:
    """Turn the workshop's experiment into an audio-visual one."""
    train = {"layout": "folder", "path": "no/such folder", "video": "no/such videos"}
    workshop.configure(modality="audio_visual", corpora={"train": train}, **changes)


@pytest.fixture(scope="session")
def watched(tmp_path_factory, server) -> Workshop:
    """A workshop in which an audio-visual experiment is done; not to be changed."""
    workshop = build(tmp_path_factory.mktemp("watched") / "it's done", server)
    seeing(workshop)
    workshop.run()
    return workshop


def calls(workshop: Workshop, stage: str) -> list[dict[str, str]]:
    """The options of each call of a stage."""
    return [dict(pairwise(arguments)) for name, arguments in workshop.calls() if name == stage]


def test_an_audio_experiment_runs_nothing_of_it(finished):
    assert not [call for stage in VISUAL for call in calls(finished, stage)]


@pytest.mark.parametrize("stage", AUDIO_STAGES)
def test_no_audio_stage_depends_on_its_code(stage):
    files = source_files(f"pipeline.{stage}", without="selfsv.settings")
    assert not [file for file in files if re.match("face|frames|videos|audio_visual", file.stem)]
    assert not {"torchvision", "facenet_pytorch", "PIL"} & external_modules(f"pipeline.{stage}")


def test_stages_get_their_settings(watched):
    for stage, section in {"videos": Corpus, "faces": DetectionSettings, "train_av": TrainAvJob}.items():
        for options in calls(watched, stage):
            section.read(str(watched.folder / options["--settings"]))
    assert len(calls(watched, "faces")) == 2
    assert [options["--max-without-face"] for options in calls(watched, "face_manifest")] == ["0.1"]


def test_scripts_know_the_options_that_their_rules_give(watched, monkeypatch):
    for stage, arguments in watched.calls():
        assert_understood(f"pipeline.{stage}", arguments, monkeypatch)


def test_rounds_are_trained_and_extracted_with_faces_and_tests_without(watched):
    assert not calls(watched, "train")
    assert [options["--iteration"] for options in calls(watched, "train_av")] == ["1", "2"]
    with_faces = {options["--output"] for options in calls(watched, "extract_av")}
    assert with_faces == {f"results/tiny/iter_{i}/embeddings/train.parquet" for i in (1, 2)}
    systems = (*BASELINES, "iter_0")
    without = {f"results/tiny/{system}/embeddings/train.parquet" for system in systems}
    without |= {f"results/tiny/{system}/embeddings/test.parquet" for system in (*systems, "iter_1", "iter_2")}
    assert {options["--output"] for options in calls(watched, "extract")} == without


def test_first_labels_are_of_voices_and_later_ones_of_both(watched):
    modalities = {options["--output"].split("/")[2]: options["--modality"] for options in calls(watched, "cluster")}
    expected = {**dict.fromkeys(BASELINES, "audio"), "iter_0": "audio", "iter_1": "joint", "iter_2": "joint"}
    assert modalities == expected


def test_only_listing_figures_and_comparisons_are_given_the_speakers(watched):
    knowing = {stage for stage, arguments in watched.calls() if any("speakers" in argument for argument in arguments)}
    assert knowing == {"listing", "metrics", "quality", "modalities"}


def test_adding_faces_to_an_audio_experiment_spares_what_is_audio(workshop):
    seeing(workshop)
    plan = workshop.plan()
    assert not {"listing", "pack", "pretrain", "baseline", "noise", "rirs", "train"} & set(plan.rules)
    assert plan.rules["faces"] == 2 and plan.rules["train_av"] == 2
    assert not {file for file in plan.outputs if file.startswith(("baseline_", "iter_0"))}


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"faces": {"detection": {"smallest_face": 50}}}, "faces"),
        ({"faces": {"max_without_face": 0.2}}, "face_manifest"),
        ({"faces": {"encoder": {"width": 16}}}, "train_av"),
        ({"faces": {"require_face": False}}, "train_av"),
    ],
)
def test_a_change_reruns_from_its_stage_on(watched, tmp_path, changes, first):
    workshop = Workshop(shutil.copytree(watched.folder, tmp_path / watched.folder.name), watched.server)
    seeing(workshop, **changes)
    order = ["listing", "videos", "pack", "faces", "face_manifest", "train_av", "extract_av", "cluster", "modalities", "report"]
    rules = set(workshop.plan().rules)
    assert set(order[order.index(first) :]) <= rules
    assert not set(order[: order.index(first)]) & rules


def test_rounds_may_start_from_another_experiments_model(fresh):
    (fresh.folder / "ca-dino.pt").write_text("a model")
    fresh.configure(initial_model="ca-dino.pt")
    told = fresh.run()
    assert "pretrain" not in {stage for stage, _ in fresh.calls()}
    [options] = calls(fresh, "adopt")
    assert (options["--initial-model"], options["--model"]) == ("ca-dino.pt", "results/tiny/iter_0/model.pt")
    assert "the table of metrics" in told
