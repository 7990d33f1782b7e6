"""Which of our modules a stage's script imports, directly or not: an edit of any of them reruns the stage.

Nothing that is looked at is executed. Imports inside functions count, those for type checkers alone do not.
"""

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import grimp

PACKAGES = ("pipeline", "selfsv")
# Only declares settings. Their values reach a stage as parameters, so a better description of one reruns nothing.
DECLARATIONS = "selfsv.settings"


def code_digest(*modules: str) -> str:
    """Changes with the code that these modules consist of, not with where it is or when it was written."""
    files = sorted({file for module in modules for file in source_files(module, without=DECLARATIONS)})
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in map(Path.read_bytes, files))).hexdigest()[:16]


def source_files(script: str, without: str = "", packages: tuple[str, ...] = PACKAGES) -> list[Path]:
    """The files of the module `script` and of every module of `packages` that it imports, in the order of the modules' names.

    Args:
        without: a package that is left out, with what is imported by way of it alone.
    """
    return [_file(module) for module in _upstream(script, without, packages) if module.partition(".")[0] in packages]


def external_modules(script: str, packages: tuple[str, ...] = PACKAGES) -> set[str]:
    """Top-level names of everything from outside `packages` that the module `script` imports, directly or not."""
    return {module for module in _upstream(script, "", packages) if module.partition(".")[0] not in packages}


def _upstream(script: str, without: str, packages: tuple[str, ...]) -> list[str]:
    graph = _graph(packages, without)
    return sorted({script} | graph.find_upstream_modules(script))


@cache
def _graph(packages: tuple[str, ...], without: str) -> grimp.ImportGraph:
    first, *others = packages
    graph = grimp.build_graph(first, *others, include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None)
    for module in [module for module in graph.modules if module.startswith(tuple(f"{package}." for package in packages))]:
        graph.add_import(importer=module, imported=module.rpartition(".")[0])  # a package runs before its modules
    if without:
        for module in {without} | graph.find_descendants(without):
            graph.remove_module(module)
    return graph


def _file(module: str) -> Path:
    package, *parts = module.split(".")
    spec = find_spec(package)
    assert spec and spec.submodule_search_locations
    base = Path(spec.submodule_search_locations[0], *parts)
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
