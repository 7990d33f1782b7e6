"""The README's example runs as it stands there."""

import re

from tests.conftest import REPOSITORY


def test_the_example_of_the_readme_runs(experiment, tmp_path, monkeypatch, capsys):
    (example,) = (
        code for code in re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL) if "selfsv" in code
    )
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "demo").symlink_to(experiment.folder)
    (tmp_path / "demo").symlink_to(REPOSITORY / "demo")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    cosine, normalised = map(float, capsys.readouterr().out.split())
    assert -1 <= cosine <= 1 and cosine != normalised


def test_every_command_of_the_readme_exists():
    from selfsv.__main__ import parser

    text = (REPOSITORY / "README.md").read_text()
    commands = set(re.findall(r"^\$ selfsv (\w+)", text, re.MULTILINE))
    assert commands == {"verify", "enroll", "identify", "score", "embed", "export", "inspect"}
    options = {
        option for line in re.findall(r"^\$ selfsv .*(?:\n {4}.*)*", text, re.MULTILINE) for option in re.findall(r"--[a-z-]+", line)
    }
    known = parser().format_help() + "".join(
        command.format_help() for action in parser()._actions if action.choices for command in action.choices.values()
    )
    assert all(option in known for option in options)
