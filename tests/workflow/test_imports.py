"""The files that a stage consists of."""

from pathlib import Path

import pytest

from workflow.imports import external_modules, source_files


@pytest.fixture
def package(tmp_path: Path) -> Path:
    files = {
        "p/__init__.py": "",
        "p/stage.py": "import os\nfrom p.near import thing\nfrom p import direct\nif typing.TYPE_CHECKING:\n    import p.typed\n",
        "p/near.py": "import numpy.linalg\ndef f():\n    from p.sub.deep import g\n",
        "p/direct.py": "import p.sub\nfrom p import stage\n",
        "p/typed.py": "",
        "p/unused.py": "from p.near import thing\n",
        "p/sub/__init__.py": "",
        "p/sub/deep.py": "import p.settings.a\n",
        "p/settings/a.py": "import p.unused\n",
        "p/relative.py": "from . import near\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_imports_are_followed_into_functions_packages_and_circles(package):
    found = source_files(package / "p/stage.py", package, package / "p/settings")
    names = [str(path.relative_to(package)) for path in found]
    assert names == ["p/__init__.py", "p/direct.py", "p/near.py", "p/stage.py", "p/sub/__init__.py", "p/sub/deep.py"]


def test_without_leaves_out_a_folder_and_what_only_it_needs(package):
    everything = source_files(package / "p/stage.py", package)
    assert package / "p/unused.py" in everything
    assert package / "p/settings/a.py" in everything


def test_external_modules_are_named_by_their_top_level(package):
    assert external_modules(package / "p/stage.py", package) == {"os", "numpy"}


def test_relative_import_is_refused(package):
    with pytest.raises(SyntaxError, match="relative"):
        source_files(package / "p/relative.py", package)
