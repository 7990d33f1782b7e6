"""Which source files a stage consists of, found by reading its imports: an edit of any of them reruns the stage.

Only the standard library is imported here, and nothing that is looked at is executed: the workflow asks for every rule on
a login node, each time it starts.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Import(NamedTuple):
    """`import module` (no names), or `from module import names`."""

    module: str
    names: tuple[str, ...] = ()


def source_files(script: Path, root: Path, without: Path | None = None) -> list[Path]:
    """`script` and every module below `root` that it imports, directly or not, sorted.

    Imports inside functions count, those for type checkers do not.

    Args:
        script: a file below `root`.
        root: the folder that holds the packages, i.e. what belongs on PYTHONPATH.
        without: a folder whose files are left out.

    Raises:
        SyntaxError: a file is no Python, or imports relatively.
    """
    found: set[Path] = set()
    waiting = [script, *_packages(script, root)]
    while waiting:
        path = waiting.pop()
        if path in found or (without and path.is_relative_to(without)):
            continue
        found.add(path)
        waiting.extend(file for imported in imports_of(path) for file in _files(imported, root))
    return sorted(found)


def external_modules(script: Path, root: Path) -> set[str]:
    """Top-level names of everything from outside `root` that `script` imports, directly or not."""
    files = source_files(script, root)
    own = {path.relative_to(root).parts[0] for path in files}
    return {imported.module.split(".")[0] for path in files for imported in imports_of(path)} - own


@cache
def imports_of(path: Path) -> tuple[Import, ...]:
    """Every import statement of `path`, wherever it stands, except those for type checkers alone."""
    return tuple(_imports(ast.parse(path.read_bytes(), filename=str(path))))


def _imports(tree: ast.AST) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (Import(name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                raise SyntaxError(f"line {node.lineno}: a relative import cannot be followed; write the package's name")
            yield Import(node.module, tuple(name.name for name in node.names))
        else:
            yield from _imports(node)


def _files(imported: Import, root: Path) -> Iterator[Path]:
    """What `imported` makes Python run: the module, those of its names that are modules, and the packages on the way."""
    modules = [imported.module, *(f"{imported.module}.{name}" for name in imported.names)]
    for path in filter(None, (_file(module, root) for module in modules)):
        yield path
        yield from _packages(path, root)


def _file(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _packages(path: Path, root: Path) -> Iterator[Path]:
    """The `__init__.py` of each package that `path` lies in."""
    folders = [folder for folder in path.relative_to(root).parents if folder.parts]
    yield from (init for folder in folders if (init := root / folder / "__init__.py").is_file())
