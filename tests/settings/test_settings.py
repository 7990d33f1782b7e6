"""The configuration: recipes, and mistakes that are refused by name."""

from copy import deepcopy
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from selfsv.errors import SettingsError
from selfsv.settings.experiment import OWN_SHARDS, RECIPES, overlaid, resolve
from selfsv.settings.jobs import PretrainJob
from selfsv.settings.pretrain import PretrainSettings

MINIMAL: dict[str, Any] = {"experiment": "x", "corpora": {"train": {"layout": "folder", "path": "a"}}}


def with_keys(**changes: Any) -> dict[str, Any]:
    return {**MINIMAL, **changes}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_fills_every_key_that_is_left_empty(recipe):
    experiment = resolve(with_keys(recipe=recipe)).model_dump()
    for key, expected in RECIPES[recipe].items():
        value = experiment
        for part in key.split("."):
            value = value[part]
        assert value == expected, key


def test_an_explicit_value_beats_the_recipe():
    experiment = resolve(with_keys(recipe="strong", pretrain={"dino": {"pairing": "short_to_long"}}))
    assert (experiment.pretrain.dino.cosine_weight, experiment.pretrain.optimiser.final_learning_rate) == (0.0, 5e-5)
    assert experiment.pretrain.dino.pairing == "short_to_long"
    assert experiment.encoder.embedding_batchnorm is True


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pretrain": {"epocs": 3}}, "unknown config key 'pretrain.epocs'"),
        ({"pretrain": {"epochs": 0}}, "'pretrain.epochs'"),
        ({"encoder": {"channels": 500}}, "'encoder.channels'"),
        ({"train": {"gate": {"mode": "dynamic"}}}, "'train.gate.mode'"),
        ({"train": {"gate": {"gate_start_epoch": 10}, "aam": {"margin_full_epoch": 10}}}, "gate_start_epoch is 10"),
        ({"rounds": -1}, "'rounds'"),
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
    paper, strong = (
        PretrainJob.of(resolve(with_keys(recipe=recipe, cluster={"clusters": 7, "whitening": 0.5}))) for recipe in ("paper", "strong")
    )
    assert (paper.preparation.subtract_mean, strong.preparation.subtract_mean) == (False, True)
    assert strong.preparation.whitening == 0.5
    other = PretrainJob.of(resolve(with_keys(recipe="strong", cluster={"clusters": 8, "whitening": 0.5})))
    assert strong == other  # the number of pseudo labels is not CA-DINO's affair


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
    experiment = resolve(overlaid(merged(BASE, overlay), overlay))
    assert (list(experiment.corpora), list(experiment.trials), experiment.pack.shards) == (corpora, trials, shards)


@pytest.mark.parametrize("overlay", [{"corpora": 3}, {"corpora": None}, {"corpora": OWN, "pack": 3}, {"corpora": OWN, "pack": None}])
def test_an_overlay_of_the_wrong_shape_is_refused_by_name(overlay):
    with pytest.raises(SettingsError, match=r"config key '(corpora|pack)'"):
        resolve(overlaid(merged(BASE, overlay), overlay))


def merged(config: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """As Snakemake does."""
    config = deepcopy(config)
    update_config(config, overlay)
    return config
