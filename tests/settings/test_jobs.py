"""What each stage is given: the settings that its script reads, and no others, so that no other change reruns it."""

import ast
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from selfsv.errors import SettingsError
from selfsv.settings import jobs
from selfsv.settings.clustering import ClusterSettings
from selfsv.settings.data import Corpus, NoiseSettings, RejectionSettings, RirSettings
from selfsv.settings.encoder import KEYS
from selfsv.settings.experiment import resolve
from selfsv.settings.faces import DetectionSettings
from selfsv.settings.pretrain import OBJECTIVES, SECTIONS
from selfsv.settings.scoring import ScoreSettings
from tests.conftest import REPOSITORY
from tests.settings.test_settings import MINIMAL
from workflow.imports import source_files

GIVEN: dict[str, type[BaseModel]] = {
    "listing": Corpus,
    "videos": Corpus,
    "check_corpus": jobs.CorpusCheck,
    "pack": jobs.PackJob,
    "manifest": RejectionSettings,
    "derive": jobs.DeriveJob,
    "noise": NoiseSettings,
    "rirs": RirSettings,
    "faces": DetectionSettings,
    "pretrain": jobs.PretrainJob,
    "ivector": jobs.IvectorJob,
    "baseline": jobs.BaselineJob,
    "train": jobs.TrainJob,
    "train_av": jobs.TrainAvJob,
    "large_margin": jobs.TuneJob,
    "finetune": jobs.CompleteTuneJob,
    "cluster": ClusterSettings,
    "modalities": ClusterSettings,
    "calibrate": jobs.CalibrationJob,
    "score": ScoreSettings,
    "diagnose": jobs.DiagnoseJob,
    "metrics": jobs.MetricJob,
}
WHOLE = {"record", "report"}  # they show all settings
# By the rules, so that naming videos, or a table about speakers, or cutting recordings, does not list the audio again.
EMPTIED = {"listing": {"video", "speakers_table", "cut"}, "videos": {"speakers_table", "speeds", "cut"}}
# By the jobs: each has the one encoder that it trains.
EMPTIED |= {stage: {"last_round"} for stage, model in GIVEN.items() if "encoder" in model.model_fields}


def keys(model: type[BaseModel]) -> Iterator[str]:
    """Every key of a group of settings, and of the groups within."""
    for name, field in model.model_fields.items():
        yield name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation)


@pytest.mark.parametrize("stage", GIVEN)
def test_every_setting_of_a_stage_is_read_in_its_sources(stage):
    """By name, as `settings.key`, in the script or what it imports."""
    imported_by_name = OBJECTIVES.values() if stage == "pretrain" else []
    modules = [f"pipeline.{stage}", *imported_by_name]
    files = {file for module in modules for file in source_files(module, without="selfsv.settings")}
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_text())))
    read = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    assert set(keys(GIVEN[stage])) - read == EMPTIED.get(stage, set())


def test_no_stage_with_settings_is_forgotten():
    scripts = {path.stem: path.read_text() for path in (REPOSITORY / "pipeline").glob("[a-z]*.py")}
    assert {stage for stage, text in scripts.items() if "args.settings" in text} == GIVEN.keys() | WHOLE
    for stage, model in GIVEN.items():
        assert f"{model.__name__}.read(args.settings)" in scripts[stage]


@pytest.mark.parametrize("method", SECTIONS)
def test_settings_of_other_objectives_do_not_reach_a_pretraining(method):
    """Nor do they change what its rule and its state are told apart by."""

    def job(**sections: Any) -> jobs.PretrainJob:
        pretrain = {"method": method, **sections}
        return jobs.PretrainJob.of(resolve({**MINIMAL, "pretrain": pretrain}))

    changed = {"head": {"hidden": 7}, "dino": {"ema_start": 0.5}, "contrastive": {"margin": 0.3}}
    changed |= {"momentum_contrast": {"queue": 7}, "sdpn": {"hidden": 7}}
    assert changed.keys() == set().union(*SECTIONS.values())
    for section, change in changed.items():
        assert (job(**{section: change}).to_json() == job().to_json()) == (section not in SECTIONS[method])
    read = jobs.PretrainJob.read(job(**changed).to_json())
    assert read.to_json() == job(**changed).to_json()


@pytest.mark.parametrize("architecture", KEYS)
def test_settings_of_other_encoders_do_not_reach_a_job(architecture):
    """Nor do they change what its rule and its state are told apart by. The demo's channels are ECAPA-TDNN's."""

    def job(**keys: Any) -> jobs.TrainJob:
        return jobs.TrainJob.of(resolve({**MINIMAL, "encoder": {"architecture": architecture, **keys}}))

    changed: dict[str, Any] = {"channels": 64, "dilations": [2], "mfa_channels": 192, "bottleneck": 32}
    changed |= {"resnet34": {"channels": 8}, "res2net50": {"scale": 4}, "fast_resnet34": {"channels": 32}, "campplus": {"growth": 16}}
    assert changed.keys() == set().union(*KEYS.values())
    for key, change in changed.items():
        assert (job(**{key: change}).to_json() == job().to_json()) == (key not in KEYS[architecture])
    read = jobs.TrainJob.read(job(**changed).to_json())
    assert read.to_json() == job(**changed).to_json()
    assert job(embedding=7).to_json() != job().to_json()


def test_the_last_round_may_have_an_encoder_of_its_own():
    encoder = {"channels": 64, "res2net50": {"scale": 4}, "last_round": {"architecture": "res2net50", "res2net50": {"width": 13}}}
    experiment, plain = (resolve({**MINIMAL, "rounds": 2, "encoder": keys}) for keys in (encoder, {"channels": 64}))
    last = jobs.TrainJob.of_round(experiment, 2)
    assert last.encoder.architecture == "res2net50" and (last.encoder.res2net50.scale, last.encoder.res2net50.width) == (4, 13)
    assert not last.encoder.last_round and jobs.TrainJob.read(last.to_json()).to_json() == last.to_json()
    for job in (jobs.PretrainJob, jobs.BaselineJob, jobs.CompleteTuneJob.on_labels, jobs.TrainJob):
        of = getattr(job, "of", job)
        assert of(experiment).to_json() == of(plain).to_json()
    assert jobs.TrainJob.of_round(experiment, 1).to_json() == jobs.TrainJob.of_round(plain, 1).to_json()
    assert jobs.TrainJob.of_round(plain, 2).to_json() == jobs.TrainJob.of(plain).to_json()
    again = resolve(experiment.model_dump(mode="json"))
    assert jobs.TrainJob.of_round(again, 2).to_json() == last.to_json(), "what the record of the settings leaves out is not needed"


def test_ivectors_depend_on_their_own_section_and_the_features():
    """The first round after them begins anew: there is no encoder to go on from."""
    experiment = resolve({**MINIMAL, "rounds": 2, "pretrain": {"method": "ivector"}, "train": {"start": "previous"}})
    fresh = resolve({**experiment.model_dump(mode="json"), "train": {"start": "stage_one"}})
    other = resolve({**MINIMAL, "pretrain": {"epochs": 7}, "encoder": {"channels": 8}, "features": {"mean_normalise": False}})
    assert jobs.IvectorJob.of(experiment).to_json() == jobs.IvectorJob.of(other).to_json()
    for change in ({"ivector": {"iterations": 6}}, {"features": {"mel_bins": 40}}, {"seed": 2}):
        assert jobs.IvectorJob.of(resolve({**MINIMAL, **change})).to_json() != jobs.IvectorJob.of(experiment).to_json()
    assert [experiment.train_of(index).start for index in (1, 2)] == ["new", "previous"]
    assert [fresh.train_of(index).start for index in (1, 2)] == ["new", "new"]
    wrong = jobs.PretrainJob.of(other).to_json().replace('"method": "dino"', '"method": "ivector"')
    with pytest.raises(SettingsError, match=r"pipeline\.ivector"):
        jobs.PretrainJob.read(wrong)
