"""config.yaml, the schema, the environments and the lock tell the same story as the code."""

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from selfsv.settings.data import Corpus, CutSettings, TrialList
from selfsv.settings.encoder import KEYS
from selfsv.settings.experiment import Experiment, merged, overlaid, resolve
from selfsv.settings.reading import read_file
from workflow import reference, schema
from workflow.imports import external_modules

REPOSITORY = Path(__file__).parents[2]
CONFIG = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
# Where a package's name for pip is not the one that it is imported by.
DISTRIBUTIONS = {"PIL": "pillow", "facenet_pytorch": "facenet-pytorch", "yaml": "pyyaml", "sklearn": "scikit-learn", "faiss": "faiss-cpu"}


SYSTEMS = sorted((REPOSITORY / "systems").glob("*.yaml"))
every_system = pytest.mark.parametrize("system", SYSTEMS, ids=lambda path: path.stem)


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of a section that is no section itself."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields_of(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted key."""
    for key, value in values.items():
        yield from flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]


def value(key: str) -> Any:
    """What config.yaml says at a dotted key; fails where it says nothing."""
    found = CONFIG
    for part in key.split("."):
        found = found[part]
    return found


@pytest.mark.parametrize(("key", "default"), [(key, field.default) for key, field in fields_of(Experiment)])
def test_config_spells_out_every_key_with_its_default(key, default):
    written = value(key)
    if default is not PydanticUndefined and key != "trials":
        assert written == (list(default) if isinstance(default, tuple) else default)


def test_config_has_all_keys_of_each_corpus_and_trial_list():
    for name, model in (("corpora", Corpus), ("trials", TrialList)):
        assert all(set(entry) == set(model.model_fields) for entry in CONFIG[name].values())
    assert list(CONFIG["trials"]) == ["vox1_o", "vox1_e", "vox1_h", "vox1_o_cleaned", "vox1_e_cleaned", "vox1_h_cleaned"]


def test_every_line_with_a_key_has_a_comment():
    lines = (REPOSITORY / "config.yaml").read_text().splitlines()
    assert not [line for line in lines if re.match(r"\s*[\w-]+:", line) and " # " not in line and ":  # " not in line]


def test_where_a_key_may_be_empty_its_description_says_what_that_means():
    fields = {**dict(fields_of(Experiment)), **{f"corpora.{name}": field for name, field in Corpus.model_fields.items()}}
    optional = {key: field.description for key, field in fields.items() if NoneType in get_args(field.annotation)}
    clipping = {f"{section}.optimiser.clip_gradient" for section in ("pretrain", "train", "large_margin", "finetune")}
    paths = {"initial_model", "noise.path", "rirs.path", "corpora.video", "corpora.extension", "corpora.speakers_table"}
    assert optional.keys() == clipping | paths | {
        "corpora.cut",
        "finetune.corpus",
        "cluster.agglomerative.centroids",
        "train.relabel_start_epoch",
        "runtime.container",
        "runtime.scratch",
        "runtime.snapshot_epochs",
        "runtime.shared_start",
    }
    assert not [key for key, description in optional.items() if "empty:" not in description]


def test_later_recipe_names_what_it_changes_and_nothing_else():
    strong = read_file(REPOSITORY / "systems" / "strong.yaml")
    paper, changed = (dict(flat(resolve(overlaid(CONFIG, overlay)).model_dump())) for overlay in ({}, strong))
    named = dict(flat(strong))
    assert {key: changed[key] for key in named} == named
    assert {key for key in paper if paper[key] != changed[key]} == named.keys() - {"pretrain.dino.teacher_temperature_start"}


def test_later_recipe_is_the_published_one():
    """examples/voxceleb/v3/dino/conf/ecapa_tdnn.yaml of WeSpeaker, under our keys; what it shares with the paper included."""
    experiment = resolve(overlaid(CONFIG, read_file(REPOSITORY / "systems" / "strong.yaml")))
    pretrain, encoder = experiment.pretrain, experiment.encoder
    crops, dino, optimiser = pretrain.crops, pretrain.dino, pretrain.optimiser
    assert (encoder.embedding, encoder.embedding_batchnorm, pretrain.head.batchnorm, pretrain.head.prototypes) == (192, True, True, 65536)
    assert (crops.long_crops, crops.long_seconds, crops.short_crops, crops.short_seconds) == (2, 3.0, 4, 2.0)
    assert (dino.teacher_temperature_start, dino.teacher_temperature, dino.student_temperature) == (0.04, 0.07, 0.1)
    assert dino.teacher_temperature_epochs == 0.2 * pretrain.epochs == 0.2 * 150
    assert (dino.centre_momentum, dino.ema_start, optimiser.clip_gradient, optimiser.freeze_last_layer_epochs) == (0.9, 0.996, 3.0, 1)
    assert (optimiser.learning_rate, optimiser.final_learning_rate, optimiser.warmup_epochs) == (0.2, 0.00005, 20)
    assert (optimiser.weight_decay, pretrain.average_last) == (0.00005, 10)


@every_system
def test_every_value_of_a_system_has_its_source(system):
    lines = system.read_text().splitlines()
    assert not [line for line in lines if re.match(r"\s*[\w-]+: *[^\s#]", line) and not re.search(r" # .*\[\w", line)]


@every_system
def test_a_system_can_be_laid_over_the_paper_and_under_the_demo(system):
    """What the demo names, such as its sizes, is the demo's; all else that the system names is the system's."""
    own = read_file(system)
    named, demo = dict(flat(own)), read_file(REPOSITORY / "demo" / "config.yaml")
    over_paper = dict(flat(resolve(overlaid(CONFIG, own)).model_dump(mode="json")))
    assert {key: over_paper[key] for key in named} == named
    under_demo = dict(flat(resolve(overlaid(CONFIG, merged(own, demo))).model_dump(mode="json")))
    sizes_of_others = {f"encoder.{key}" for keys in KEYS.values() for key in keys} - under_demo.keys()
    expected = named | {key: value for key, value in flat(demo) if not key.startswith(("trials.", *sizes_of_others))}
    assert {key: under_demo[key] for key in expected} == expected


def test_every_system_is_in_the_table():
    rows = re.findall(r"^\| `systems/(\w+)\.yaml` \|", (REPOSITORY / "docs" / "systems.md").read_text(), re.MULTILINE)
    assert sorted(rows) == [system.stem for system in SYSTEMS]


def test_schema_is_that_of_the_settings():
    assert json.loads(schema.SCHEMA.read_text()) == json.loads(schema.text()), "run: python -m workflow.schema"


def test_reference_and_comments_are_the_settings_descriptions():
    assert reference.REFERENCE.read_text() == reference.reference(), "run: python -m workflow.reference"
    assert reference.CONFIG.read_text() == reference.commented(reference.CONFIG.read_text()), "run: python -m workflow.reference"


def test_reference_has_a_row_for_every_key_and_its_default():
    """Read back as a reader would: the heading's group and the row's key, the default as YAML."""
    fields = dict(fields_of(Experiment))
    for name, model in (("corpora", Corpus), ("trials", TrialList)):
        fields |= {f"{name}.{{name}}.{key}": field for key, field in model.model_fields.items()}
    fields |= {f"corpora.{{name}}.cut.{key}": field for key, field in CutSettings.model_fields.items()}
    rows = {}
    for group in re.split("^## ", reference.REFERENCE.read_text(), flags=re.MULTILINE)[1:]:
        name = group.partition("\n")[0]
        for key, _, default, meaning in re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+) \|$", group, flags=re.MULTILINE):
            rows[key if name == "The experiment" else f"{name}.{key}"] = default, meaning
    assert rows.keys() == fields.keys()
    for key, (default, meaning) in rows.items():
        assert meaning == fields[key].description and len(meaning) > 5
        if fields[key].default is not PydanticUndefined:
            written = None if default == "empty" else yaml.safe_load(default.strip("`"))
            assert written == (list(fields[key].default) if isinstance(fields[key].default, tuple) else fields[key].default), key


@pytest.mark.parametrize(
    ("schema_of_field", "words"),
    [
        ({"type": "integer", "minimum": 1, "multipleOf": 8}, "integer ≥ 1, multiple of 8"),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1.5}, "number > 0, < 1.5"),
        ({"anyOf": [{"const": "auto", "type": "string"}, {"type": "boolean"}]}, "`auto` or true or false"),
        ({"type": "array", "prefixItems": [{"type": "number"}] * 2}, "[number, number]"),
        ({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}, "list of text or empty"),
    ],
)
def test_reference_says_types_in_words(schema_of_field, words):
    assert reference.words(schema_of_field) == words


def test_settings_only_declare():
    """Their files are no inputs of a stage, so nothing in them may do any of its work."""
    # stage_one.py: names, which no stage computes with, and whether stage I clusters, which the check of a corpus must know, too.
    allowed = {"section.py", "reading.py", "jobs.py", "experiment.py", "stage_one.py"}
    for path in sorted((REPOSITORY / "selfsv/settings").glob("*.py")):
        functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        declared = ("model_validator", "field_validator", "model_serializer")
        expected = [node for node in functions if any(ast.unparse(decorator).startswith(declared) for decorator in node.decorator_list)]
        assert path.name in allowed or functions == expected, f"{path.name} computes something: that belongs outside selfsv/settings"


def lock() -> dict[str, str]:
    """The locked version of each package."""
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    return dict(line.split(";")[0].strip().split("==") for line in lines if line and not line.lstrip().startswith("#"))


def rules() -> dict[str, str]:
    """The text of each rule that has a script; before what a rule says itself, that of the rules that it inherits."""
    text = "\n".join(path.read_text() for path in sorted((REPOSITORY / "workflow").rglob("*.smk")))
    found = re.findall(r"^( *)(?:use rule|rule|checkpoint) (\w+)(?: as (\w+) with)?:\n((?:(?:\1 +.*)?\n)*)", text, re.MULTILINE)
    bodies = {heir or name: (name if heir else None, body) for _, name, heir, body in found}

    def whole(name: str) -> str:
        base, body = bodies[name]
        return (whole(base) if base else "") + body

    return {name: whole(name) for name, (_, body) in bodies.items() if "script(" in body}


def pins(environment: Path) -> dict[str, str]:
    """What pip installs in a conda environment."""
    return dict(pin.split("==") for pin in yaml.safe_load(environment.read_text())["dependencies"][-1]["pip"])


@pytest.mark.parametrize("environment", sorted((REPOSITORY / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_environment_has_the_versions_of_the_lock(environment):
    assert pins(environment).items() <= lock().items()


@pytest.mark.parametrize("rule", rules())
def test_environment_of_a_rule_has_what_its_script_imports(rule):
    of_faces = f" as {rule} with" in (REPOSITORY / "workflow/rules/faces.smk").read_text()
    # Triton is a part of torch's builds for GPUs, and asked for there alone.
    needed = external_modules(f"pipeline.{rule}") - set(sys.stdlib_module_names) - {"triton"}
    for environment in ["faces"] if of_faces else ["faces", "selfsv"]:
        assert f"envs/{environment}.yaml" in rules()[rule]
        assert {DISTRIBUTIONS.get(module, module) for module in needed} <= set(pins(REPOSITORY / "envs" / f"{environment}.yaml"))


@pytest.mark.parametrize("rule", rules())
def test_rule_is_complete(rule):
    body = rules()[rule]
    assert re.findall(r'script\(\s*"(\w+)"', body)[-1] == rule
    assert all(f"    {part}" in body for part in ("conda:", "threads:", "mem_mb=", "runtime=", "shell:"))


def test_all_scripts_have_their_rule():
    scripts = {path.stem for path in (REPOSITORY / "pipeline").glob("*.py")} - {"__init__"}
    assert set(rules()) == scripts


def test_everything_in_the_shell_line_is_quoted():
    text = "".join(path.read_text() for path in (REPOSITORY / "workflow/rules").glob("*.smk"))
    [line] = re.findall(r"    shell:\n((?:        .*\n)*)", text)
    constants = {"params.launcher", "params.script", "params.terminal"}
    assert set(re.findall(r"\{([\w.]+)\}", line)) == constants


def test_lock_holds_every_dependency():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    assert {re.split(r"[<>=]", name)[0].lower() for name in wanted} <= set(lock())
