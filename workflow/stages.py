"""From a rule to the command line of its script."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from selfsv.settings.section import Section
from selfsv.writing import write_atomically
from workflow.imports import code_digest

WAITED_FOR = "waited_for"  # an input of this name is no option of its script


def scripts_of(results: str) -> Callable[..., dict[str, Any]]:
    """`script_params` of an experiment, whose results are in this folder."""
    return partial(script_params, Path(results, "settings"))


def script_params(
    folder: Path, stage: str, settings: Section | Callable[[Any], Section] | None = None, *, module: str = "", **options: Any
) -> dict[str, Any]:
    """The params that name a rule's script, the code that it consists of, and its options but for files.

    Args:
        folder: for the settings' files.
        settings: those that the stage depends on, or a function of the wildcards.
        module: that the script imports by its name in the settings, so that its code does not show in the script's imports.
        options: values, with wildcards in braces, or functions of the wildcards.
    """

    def script_options(wildcards: Any) -> list[str]:
        section = settings(wildcards) if callable(settings) else settings
        named = dict(wildcards.items())
        values = {name: value(wildcards) if callable(value) else str(value).format(**named) for name, value in options.items()}
        return words({"settings": [] if section is None else settings_file(folder, stage, section), **values})

    return {"script": stage, "code": code_digest(f"pipeline.{stage}", *filter(None, [module])), "options": script_options}


def settings_file(folder: Path, stage: str, section: Section) -> Path:
    """The file of a stage's settings, named after its content: another setting is another path, which Snakemake compares.

    It is written where it is missing or damaged, and else left alone: no run changes what another one's jobs read.
    """
    text = json.dumps(section.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"
    path = folder / f"{stage}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    if not path.exists() or path.read_bytes() != text.encode():
        write_atomically(path, lambda file: file.write(text.encode()))
    return path


def file_options(wildcards: Any, input: Any, output: Any) -> list[str]:
    """The options that hand a rule's files to its script: `face_model` becomes --face-model, an output without a name --output.

    An input without a name, or named `WAITED_FOR`, is only waited for. A name without files is left out.
    """
    inputs = {name: files for name, files in input.items() if name != WAITED_FOR}
    return words({**inputs, **(dict(output.items()) or {"output": output})})


def words(options: dict[str, Any]) -> list[str]:
    """`options` as on a command line: a list's elements one after the other, nothing of an empty list."""
    lists = {name: list(value) if isinstance(value, list) else [value] for name, value in options.items()}
    return [word for name, values in lists.items() if values for word in (f"--{name.replace('_', '-')}", *map(str, values))]
