"""The layers of the library: imports go down only."""

import tomllib

import grimp
import pytest
from setuptools import find_packages

from tests.conftest import REPOSITORY

# From the top. What is on one line may use what is on lines below, and its own folder; files beside the folders are the bottom.
LAYERS = [
    {"cli"},
    {"methods", "report", "explore", "inference", "diagnosis"},
    {"engine", "prepare"},
    {"models", "scoring", "clustering"},
    {"losses", "data"},
    {"settings"},
]
LIBRARY = REPOSITORY / "selfsv"
FOLDERS = {folder for layer in LAYERS for folder in layer}
BESIDE = {path.stem for path in LIBRARY.glob("*.py")} - {"__init__", "__main__"}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("selfsv", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None)


def test_every_folder_has_its_layer():
    assert {path.parent.name for path in LIBRARY.glob("*/*.py")} == FOLDERS


def test_imports_go_down(graph):
    layers = [grimp.Layer("__main__"), *(grimp.Layer(*layer) for layer in LAYERS), grimp.Layer(*BESIDE, independent=False)]
    found = graph.find_illegal_dependencies_for_layers(layers, containers={"selfsv"})
    assert not [(route.heads, route.middle, route.tails) for dependency in found for route in dependency.routes]


@pytest.mark.parametrize("folder", ["methods", "engine"])
def test_no_training_can_read_scores(folder, graph):
    """Neither those of trials, nor what `selfsv monitor` has made of them."""
    for above in ("scoring", "inference", "diagnosis", "report", "cli"):
        assert not graph.find_shortest_chains(f"selfsv.{folder}", f"selfsv.{above}")


def test_who_imports_the_package_needs_nothing_of_its_folders(graph):
    imported = {module for module in graph.find_modules_directly_imported_by("selfsv") if module.startswith("selfsv.")}
    assert imported <= {f"selfsv.{name}" for name in BESIDE}


def test_the_library_knows_neither_scripts_nor_rules(graph):
    assert not {"pipeline", "workflow", "snakemake"} & graph.modules


def test_pip_installs_the_library_and_nothing_else():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    include = project["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = find_packages(str(REPOSITORY), include=include)
    assert {package.split(".")[0] for package in packages} == {"selfsv"}
    assert set(packages) == {"selfsv", *(f"selfsv.{folder}" for folder in FOLDERS)}
