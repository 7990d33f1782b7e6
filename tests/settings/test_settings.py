"""The configuration: overlays, and mistakes that are refused by name."""

import json
import re
from copy import deepcopy
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from selfsv.errors import SettingsError
from selfsv.settings.experiment import OWN_SHARDS, merged, overlaid, recorded, resolve
from selfsv.settings.jobs import PretrainJob
from selfsv.settings.pretrain import PretrainSettings

MINIMAL: dict[str, Any] = {"experiment": "x", "corpora": {"train": {"layout": "folder", "path": "a"}}}


IVECTOR = {"pretrain": {"method": "ivector"}}


def with_keys(**changes: Any) -> dict[str, Any]:
    return {**MINIMAL, **changes}


@pytest.mark.parametrize("recipe", ["paper", "strong", None, 3])
def test_a_recipe_is_refused_with_what_to_write_instead(recipe):
    with pytest.raises(SettingsError) as caught:
        resolve(with_keys(recipe=recipe))
    message = str(caught.value)
    assert "'recipe'" in message and "remove it" in message and "--configfile systems/strong.yaml mine.yaml" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("key", ["encoder.embedding_batchnorm", "pretrain.average_last", "pretrain.dino.pairing", "score.subtract_mean"])
def test_a_key_that_is_left_empty_is_refused_by_name(key):
    *parents, last = key.split(".")
    changes: dict[str, Any] = {last: None}
    for parent in reversed(parents):
        changes = {parent: changes}
    with pytest.raises(SettingsError, match=rf"'{re.escape(key)}'.*the key is empty; write a value, or remove the key"):
        resolve(with_keys(**changes))


def test_an_empty_key_stands_for_nothing_where_that_is_meant():
    experiment = resolve(with_keys(pretrain={"optimiser": {"clip_gradient": None}}, noise={"path": None}))
    assert experiment.pretrain.optimiser.clip_gradient is None and experiment.noise.path is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pretrain": {"epocs": 3}}, "unknown config key 'pretrain.epocs'"),
        ({"pretrain": {"epochs": 0}}, "'pretrain.epochs'"),
        ({"encoder": {"channels": 500}}, "'encoder.channels'"),
        ({"encoder": {"architecture": "resnet18"}}, "'encoder.architecture'.*'resnet34'"),
        ({"encoder": {"architecture": "resnet34", "resnet34": {"chanels": 8}}}, "unknown config key 'encoder.resnet34.chanels'"),
        ({"encoder": {"last_round": {"chanels": 1024}}}, "encoder.last_round: unknown config key 'chanels'"),
        ({"encoder": {"last_round": {"last_round": {"channels": 8}}}}, "no last round of the last round"),
        ({"encoder": {"architecture": "fast_resnet34", "fast_resnet34": {"channels": 12}}}, "'encoder.fast_resnet34.channels'"),
        ({"train": {"gate": {"mode": "dynamic"}}}, "'train.gate.mode'"),
        ({"train": {"gate": {"gate_start_epoch": 10}, "aam": {"margin_full_epoch": 10}}}, "gate_start_epoch is 10"),
        ({"rounds": -1}, "'rounds'"),
        ({**IVECTOR, "train": {"objective_weight": 1.0}}, "i-vectors .pretrain.method. have none: set it to 0"),
        ({**IVECTOR, "features": {"mel_bins": 19}}, "coefficients is above features.mel_bins, which is 19"),
        ({**IVECTOR, "large_margin": {"enabled": True}, "rounds": 0}, "large_margin.enabled would tune the encoder of iter_0"),
        ({**IVECTOR, "finetune": {"starts": ["iter_0"], "corpus": "train"}}, "finetune.starts would tune the encoder of iter_0"),
        ({"experiment": "../up"}, "'experiment'"),
        ({"corpora": {"a/b": {"layout": "folder", "path": "x"}}}, "a/b"),
        ({"corpora": {}}, "train_corpus 'train'"),
        ({"trials": {"t": {"corpus": "nowhere", "path": "x"}}}, "'nowhere'"),
        ({"train": {"optimiser": {"learning_rate": float("nan")}}}, "learning_rate"),
    ],
)
def test_a_mistake_is_refused_by_name(changes, message):
    with pytest.raises(SettingsError, match="(?s)" + message.replace("'", ".").replace("/", ".")):
        resolve(with_keys(**changes))


FOLDER = "{layout: folder, path: a}"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (f"{{experiment: x, corpora: {{no: {FOLDER}}}}}", "takes an unquoted no, off, false for false; write it in quotes, 'no'"),
        (f"{{experiment: on, corpora: {{train: {FOLDER}}}}}", "takes an unquoted yes, on, true for true"),
        (f"{{experiment: 2024, corpora: {{train: {FOLDER}}}}}", "write it in quotes, '2024'"),
        (f"{{experiment: 2024-05-06, corpora: {{train: {FOLDER}}}}}", "write it in quotes, '2024-05-06'"),
    ],
)
def test_a_text_that_yaml_takes_for_something_else_comes_with_a_hint(text, hint):
    with pytest.raises(SettingsError) as caught:
        resolve(yaml.safe_load(text))
    assert hint in str(caught.value)
    with pytest.raises(SettingsError, match="pretrain") as other:
        resolve(with_keys(pretrain={"epochs": "many"}))
    assert "quotes" not in str(other.value)


def test_a_job_depends_on_its_own_settings_alone():
    job = PretrainJob.of(resolve(MINIMAL)).to_json()
    assert job == PretrainJob.of(resolve(with_keys(rounds=7, train={"epochs": 9}, runtime={"workers": 1}))).to_json()
    assert job != PretrainJob.of(resolve(with_keys(pretrain={"epochs": 9}))).to_json()


def test_clusters_within_ca_dino_are_prepared_like_the_pseudo_labels():
    job = PretrainJob.of(resolve(with_keys(cluster={"clusters": 7, "whitening": 0.5, "subtract_mean": True})))
    assert (job.preparation.subtract_mean, job.preparation.whitening) == (True, 0.5)
    assert not PretrainJob.of(resolve(MINIMAL)).preparation.subtract_mean
    other = PretrainJob.of(resolve(with_keys(cluster={"clusters": 8, "whitening": 0.5, "subtract_mean": True})))
    assert job == other  # the number of pseudo labels is not CA-DINO's affair


@pytest.mark.parametrize("recipe", [{}, {"recipe": "strong"}], ids=["now", "of an earlier version"])
def test_settings_of_a_run_are_read_again(tmp_path, recipe):
    experiment = resolve(with_keys(pretrain={"dino": {"pairing": "all_but_same"}}, trials={"t": {"corpus": "train", "path": "x"}}))
    (tmp_path / "settings.json").write_text(json.dumps({**experiment.model_dump(mode="json"), **recipe}))
    assert recorded(tmp_path / "settings.json") == experiment


@pytest.mark.parametrize("text", ["[1]", "", "{", '{"seed": 1}', '{"experiment": "x", "corpora": {}, "recipes": 1}'])
def test_what_are_no_settings_of_a_run_is_named(tmp_path, text):
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(SettingsError, match=re.escape(str(tmp_path / "settings.json"))):
        recorded(tmp_path / "settings.json")
    with pytest.raises(SettingsError, match=r"lost\.json cannot be read: No such file"):
        recorded(tmp_path / "lost.json")


def test_settings_survive_the_command_line():
    settings = resolve(MINIMAL).pretrain
    assert PretrainSettings.read(settings.to_json()) == settings


def test_settings_can_come_from_a_file(tmp_path):
    (tmp_path / "mine.yaml").write_text("epochs: 7\ncrops: {long_seconds: 2.5}\n")
    settings = PretrainSettings.read(str(tmp_path / "mine.yaml"))
    assert (settings.epochs, settings.crops.long_seconds, settings.batch_size) == (7, 2.5, 256)


BASE: dict[str, Any] = {
    "experiment": "theirs",
    "corpora": {name: {"layout": "voxceleb", "path": name} for name in ("train", "voxceleb1")},
    "trials": {"vox1_o": {"corpus": "voxceleb1", "path": "veri_test.txt"}},
    "pack": {"shards": 64, "min_seconds": 1.0},
}
OWN = {"train": {"layout": "folder", "path": "mine"}}


@pytest.mark.parametrize(
    ("overlay", "corpora", "trials", "shards"),
    [
        ({"seed": 2}, ["train", "voxceleb1"], ["vox1_o"], 64),
        ({"corpora": OWN}, ["train"], [], OWN_SHARDS),
        ({"corpora": OWN, "trials": {}}, ["train"], [], OWN_SHARDS),
        ({"corpora": OWN, "trials": {"t": {"corpus": "train", "path": "x"}}}, ["train"], ["t"], OWN_SHARDS),
        ({"corpora": {**OWN, "voxceleb1": {"layout": "folder", "path": "x"}}}, ["train", "voxceleb1"], ["vox1_o"], OWN_SHARDS),
        ({"trials": {"t": {"corpus": "voxceleb1", "path": "x"}}}, ["train", "voxceleb1"], ["t"], 64),
        ({"corpora": OWN, "pack": {"shards": 7}}, ["train"], [], 7),
        ({"corpora": OWN, "pack": {"min_seconds": 2.0}}, ["train"], [], OWN_SHARDS),
    ],
)
def test_own_corpora_come_without_the_lists_and_shards_of_those_they_replace(overlay, corpora, trials, shards):
    experiment = resolve(overlaid(BASE, overlay))
    assert (list(experiment.corpora), list(experiment.trials), experiment.pack.shards) == (corpora, trials, shards)


@pytest.mark.parametrize("overlay", [{"corpora": 3}, {"corpora": None}, {"corpora": OWN, "pack": 3}, {"corpora": OWN, "pack": None}])
def test_an_overlay_of_the_wrong_shape_is_refused_by_name(overlay):
    with pytest.raises(SettingsError, match=r"config key '(corpora|pack)'"):
        resolve(overlaid(BASE, overlay))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"a": {"c": 5}, "e": 6},
        {"a": 3},
        {"d": {"f": {"g": 1}}},
        {"a": {"b": {"h": 1}, "c": None}},
        {"a": {}},
        {"a": None, "d": [{"i": 1}]},
    ],
)
def test_keys_are_merged_as_snakemake_merges_files(changes):
    config = {"a": {"b": 1, "c": {"x": 2}}, "d": 3, "l": [1, 2]}
    before, expected = deepcopy((config, changes)), deepcopy(config)
    update_config(expected, deepcopy(changes))
    found = merged(config, changes)
    assert found == expected and list(found) == list(expected)
    assert (config, changes) == before


def test_an_overlay_changes_neither_itself_nor_the_defaults():
    overlay = {"corpora": OWN, "seed": 3}
    before = deepcopy((BASE, overlay))
    assert overlaid(BASE, overlay) != BASE
    assert (BASE, overlay) == before
