"""config.yaml, the schema, the environments and the lock tell the same story as the code."""

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from selfsv.settings.data import Corpus, TrialList
from selfsv.settings.experiment import RECIPES, Experiment, resolve
from workflow import schema
from workflow.imports import external_modules

REPOSITORY = Path(__file__).parents[2]
CONFIG = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
# Where a package's name for pip is not the one that it is imported by.
DISTRIBUTIONS = {"PIL": "pillow", "facenet_pytorch": "facenet-pytorch", "yaml": "pyyaml", "sklearn": "scikit-learn", "faiss": "faiss-cpu"}


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a section and its default."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.default


def value(key: str) -> Any:
    """What config.yaml says at a dotted key; fails where it says nothing."""
    found = CONFIG
    for part in key.split("."):
        found = found[part]
    return found


@pytest.mark.parametrize(("key", "default"), list(leaves(Experiment)))
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


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_fills_every_key_that_is_left_empty(recipe):
    governed, optional = set(RECIPES[recipe]), {"initial_model", "noise.path", "rirs.path", "finetune.corpus"}
    assert {key for key, default in leaves(Experiment) if default is None} == governed | optional
    assert {key for key in governed if value(key) is not None} == set()
    resolved = resolve({**CONFIG, "recipe": recipe}).model_dump()
    for key, filled in RECIPES[recipe].items():
        section = resolved
        for part in key.split("."):
            section = section[part]
        assert section == filled


def test_schema_is_that_of_the_settings():
    assert json.loads(schema.SCHEMA.read_text()) == json.loads(schema.text()), "run: python -m workflow.schema"


def test_settings_only_declare():
    """Their files are no inputs of a stage, so nothing in them may do any of its work."""
    allowed = {"section.py", "reading.py", "jobs.py", "experiment.py"}
    for path in sorted((REPOSITORY / "selfsv/settings").glob("*.py")):
        functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        validators = [node for node in functions if any("validator" in ast.unparse(decorator) for decorator in node.decorator_list)]
        assert path.name in allowed or functions == validators, f"{path.name} computes something: that belongs outside selfsv/settings"


def lock() -> dict[str, str]:
    """The locked version of each package."""
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    return dict(line.split(";")[0].strip().split("==") for line in lines if line and not line.lstrip().startswith("#"))


def rules() -> dict[str, str]:
    """The text of each rule that runs something; before what a rule says itself, that of the rule that it inherits."""
    text = "\n".join(path.read_text() for path in sorted((REPOSITORY / "workflow/rules").glob("*.smk")))
    own = dict(re.findall(r"^rule (\w+):\n((?:[ \n].*\n?)*)", text, re.MULTILINE))
    heirs = re.findall(r"^use rule (\w+) as (\w+) with:\n((?:[ \n].*\n?)*)", text, re.MULTILINE)
    inherited = {name: own[base] + body for base, name, body in heirs}
    bases = {base for base, _, _ in heirs}
    return {name: body for name, body in (own | inherited).items() if "shell:" in body and name not in bases}


def pins(environment: Path) -> dict[str, str]:
    """What pip installs in a conda environment."""
    return dict(pin.split("==") for pin in yaml.safe_load(environment.read_text())["dependencies"][-1]["pip"])


@pytest.mark.parametrize("environment", sorted((REPOSITORY / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_environment_has_the_versions_of_the_lock(environment):
    assert pins(environment).items() <= lock().items()


@pytest.mark.parametrize("rule", rules())
def test_environment_of_a_rule_has_what_its_script_imports(rule):
    environment = REPOSITORY / "envs" / re.findall(r"envs/(\w+\.yaml)", rules()[rule])[-1]
    script = REPOSITORY / "pipeline" / f"{rule}.py"
    needed = external_modules(script, REPOSITORY) - set(sys.stdlib_module_names)
    if environment.stem == "score":
        needed.discard("torch")  # only in functions of artifacts.py that these stages do not call
    assert {DISTRIBUTIONS.get(module, module) for module in needed} <= set(pins(environment))


@pytest.mark.parametrize("rule", rules())
def test_rule_is_complete(rule):
    body = rules()[rule]
    assert f'code=code("{rule}")' in body
    assert f" pipeline.{rule} " in body or f'script="{rule}"' in body
    assert all(f"    {part}" in body for part in ("log:", "conda:", "threads:", "mem_mb=", "runtime="))
    unquoted = re.findall(r"\{(?:input|output|log|params\.(?:settings|speech|files|options))[\w.]*\}", body.split("shell:")[1])
    assert not unquoted


def test_lock_holds_every_dependency():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    assert {re.split(r"[<>=]", name)[0].lower() for name in wanted} <= set(lock())
