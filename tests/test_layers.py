"""The layers of the library: imports go down only."""

import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages

from tests.conftest import REPOSITORY
from workflow.imports import imports_of

# From the bottom. What is on one line may use what is on lines below, and its own folder; files beside the folders are the bottom.
LAYERS = [
    {"settings"},
    {"losses", "data"},
    {"models", "scoring", "clustering"},
    {"engine", "prepare"},
    {"methods", "report", "inference"},
    {"cli"},
]
LIBRARY = REPOSITORY / "selfsv"
FOLDERS = {folder for layer in LAYERS for folder in layer}


def layer_of(part: str) -> int:
    """-1 for a file beside the folders."""
    return next((number for number, layer in enumerate(LAYERS) if part in layer), -1)


def test_every_folder_has_its_layer():
    assert {path.parent.name for path in LIBRARY.glob("*/*.py")} == FOLDERS


@pytest.mark.parametrize("path", sorted(LIBRARY.rglob("*.py")), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_imports_go_down(path: Path):
    own = path.relative_to(LIBRARY).parts[0] if path.parent != LIBRARY else ""
    above = 99 if path.name == "__main__.py" else layer_of(own)
    for imported in imports_of(path):
        root, _, rest = imported.module.partition(".")
        assert root not in ("pipeline", "workflow", "snakemake"), f"{path} imports {imported.module}"
        if root != "selfsv":
            continue
        for part in {rest.split(".")[0]} if rest else set(imported.names):
            assert part == own or layer_of(part) < above or (layer_of(part) == above == -1), f"{path} imports {imported.module}"


def test_pip_installs_the_library_and_nothing_else():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    include = project["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = find_packages(str(REPOSITORY), include=include)
    assert {package.split(".")[0] for package in packages} == {"selfsv"}
    assert set(packages) == {"selfsv", *(f"selfsv.{folder}" for folder in FOLDERS)}
