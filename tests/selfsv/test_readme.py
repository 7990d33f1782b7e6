"""The examples of the README and of the page about models run as they are."""

import re

import pytest

from tests.conftest import REPOSITORY

PAGES = [REPOSITORY / "README.md", REPOSITORY / "docs" / "use-a-model.md"]
page_by_name = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@page_by_name
def test_the_example_runs(page, experiment, tmp_path, monkeypatch, capsys):
    (example,) = (code for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL) if "import selfsv" in code)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "demo").symlink_to(experiment.folder)
    (tmp_path / "demo").symlink_to(REPOSITORY / "demo")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, page.name, "exec"), {})
    cosine, normalised = map(float, capsys.readouterr().out.split())
    assert -1 <= cosine <= 1 and cosine != normalised


def test_every_command_is_shown():
    assert set.union(*(commands(page.read_text()) for page in PAGES)) == {
        "verify",
        "enroll",
        "identify",
        "score",
        "embed",
        "export",
        "push",
        "inspect",
    }


@page_by_name
def test_every_shown_command_and_option_exists(page):
    from selfsv.__main__ import parser

    text = page.read_text()
    options = {
        option for line in re.findall(r"^\$ selfsv .*(?:\n {4}.*)*", text, re.MULTILINE) for option in re.findall(r"--[a-z-]+", line)
    }
    known = {name: command.format_help() for action in parser()._actions if action.choices for name, command in action.choices.items()}
    assert commands(text) and commands(text) <= known.keys()
    assert options and all(option in "".join(known.values()) for option in options)


def commands(text: str) -> set[str]:
    """What follows `$ selfsv` in a text."""
    return set(re.findall(r"^\$ selfsv (\w+)", text, re.MULTILINE))
