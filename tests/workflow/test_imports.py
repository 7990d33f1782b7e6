"""The modules that a stage consists of, and the digest of their code."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfsv.settings.pretrain import OBJECTIVES
from tests.workflow.conftest import REPOSITORY
from workflow.imports import PACKAGES, code_digest, external_modules, source_files

PACKAGE = "imported_by_the_tests"
FILES = {
    "__init__": "",
    "stage": """
import os
from typing import TYPE_CHECKING
from {own}.near import thing
from {own} import direct
if TYPE_CHECKING:
    import {own}.typed
""",
    "near": "import numpy.linalg\ndef f():\n    from {own}.sub.deep import g\n",
    "direct": "import {own}.sub\nfrom {own} import stage\n",
    "typed": "",
    "unused": "from {own}.near import thing\n",
    "sub/__init__": "from . import beside\n",
    "sub/beside": "",
    "sub/deep": "import {own}.settings.a\n",
    "settings/__init__": "",
    "settings/a": "import {own}.only_of_settings\n",
    "only_of_settings": "",
}
TRAININGS = {
    "selfsv/methods/pretraining.py": {"pretrain"},
    "selfsv/methods/audio_visual.py": {"train_av"},
    "selfsv/methods/finetuning.py": {"large_margin", "finetune"},
    "pipeline/train.py": {"train"},
}


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("imports") / PACKAGE
    for name, text in FILES.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(own=PACKAGE))
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(folder.parent))
        yield folder


def names(package: Path, script: str, without: str = "") -> list[str]:
    files = source_files(f"{PACKAGE}.{script}", f"{PACKAGE}.{without}" if without else "", (PACKAGE,))
    return [str(path.relative_to(package).with_suffix("")) for path in files]


def test_imports_are_followed_into_functions_packages_and_circles(package):
    found = names(package, "stage", without="settings")
    assert found == ["__init__", "direct", "near", "stage", "sub/__init__", "sub/beside", "sub/deep"]


def test_without_leaves_out_a_package_and_what_only_it_needs(package):
    left_out = {"settings/__init__", "settings/a", "only_of_settings"}
    assert set(names(package, "stage")) - set(names(package, "stage", without="settings")) == left_out


def test_external_modules_are_named_by_their_top_level(package):
    assert external_modules(f"{PACKAGE}.stage", (PACKAGE,)) == {"os", "typing", "numpy"}


def test_python_itself_imports_nothing_that_was_not_found():
    """Of a real stage: what is loaded after its import is among its files."""
    program = f"import sys, pipeline.score\nprint(*(name for name in sys.modules if name.split('.')[0] in {PACKAGES}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, env=os.environ, capture_output=True, text=True, check=True)
    found = {str(path.relative_to(REPOSITORY).with_suffix("")) for path in source_files("pipeline.score")}
    loaded = {name.replace(".", "/") for name in done.stdout.split()}
    assert loaded and {name for name in loaded if name not in found and f"{name}/__init__" not in found} == set()


@pytest.mark.parametrize("path", TRAININGS)
def test_editing_a_method_is_editing_its_trainings_and_no_others(path):
    trainings = {"pretrain", "train", "train_av", "large_margin", "finetune"}
    consisting = {stage for stage in trainings if REPOSITORY / path in source_files(f"pipeline.{stage}")}
    assert consisting == TRAININGS[path]


@pytest.mark.parametrize("method", OBJECTIVES)
def test_editing_an_objective_is_editing_its_own_pretraining(method):
    """The script imports it by name; the rule names it."""
    consisting = {other for other, module in OBJECTIVES.items() if file_of(method) in source_files(module)}
    assert consisting == {method}
    assert not any(file_of(method) in source_files(f"pipeline.{stage}") for stage in ("pretrain", "train", "extract"))
    assert code_digest("pipeline.pretrain", OBJECTIVES[method]) != code_digest("pipeline.pretrain")


def file_of(method: str) -> Path:
    return REPOSITORY / f"{OBJECTIVES[method].replace('.', '/')}.py"


def test_the_digest_is_that_of_content(monkeypatch, tmp_path):
    """Neither a settings file's words nor the place count."""
    before = code_digest("pipeline.baseline")
    assert before != code_digest("pipeline.extract")
    contents = {path: path.read_bytes() for path in source_files("pipeline.baseline")}
    edits = {path.relative_to(REPOSITORY).as_posix(): content + b"#" for path, content in contents.items()}
    for edited, content in edits.items():
        with monkeypatch.context() as patched:
            read = Path.read_bytes
            patched.setattr(Path, "read_bytes", lambda path, e=edited, c=content, r=read: c if path == REPOSITORY / e else r(path))
            assert (code_digest("pipeline.baseline") == before) == edited.startswith("selfsv/settings/")
