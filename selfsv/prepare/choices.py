"""Settings with their reasons, and the file that holds them: an overlay in which each line says why."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from selfsv.settings.experiment import Experiment
from selfsv.settings.section import Section

COLUMN = 44  # of the comments


class Choice(NamedTuple):
    """A setting, and why it has this value."""

    key: str  # as in config.yaml, with dots
    value: Any
    reason: str


def nested(choices: Sequence[Choice], values: dict[str, Any]) -> dict[str, Any]:
    """`values`, with the choices put in their places."""
    for choice in choices:
        *groups, key = choice.key.split(".")
        place = values
        for group in groups:
            place = place.setdefault(group, {})
        place[key] = choice.value
    return values


def with_reasons(values: dict[str, Any], choices: Sequence[Choice], head: Sequence[str]) -> str:
    """A file of settings: `head` as comments, then `values` and the choices with their reasons, in the order of config.yaml."""
    ordered = sorted(choices, key=lambda choice: place_of(choice.key, Experiment))
    reasons = {choice.key: choice.reason for choice in choices}
    return "\n".join([*(f"# {line}".rstrip() for line in head), *_lines(nested(ordered, values), reasons)]) + "\n"


def place_of(key: str, section: type[Section]) -> list[int]:
    """Where config.yaml has a key, so that keys can be sorted by it."""
    name, _, rest = key.partition(".")
    fields = section.model_fields
    inner = fields[name].annotation
    return [list(fields).index(name), *(place_of(rest, inner) if isinstance(inner, type) and issubclass(inner, Section) else [])]


def _lines(values: Mapping[str, Any], reasons: Mapping[str, str], path: str = "", depth: int = 0) -> Iterator[str]:
    """YAML with a comment on each key that has a reason; single keys first, and a blank line before each section."""
    indent = "  " * depth
    for key, value in sorted(values.items(), key=lambda entry: isinstance(entry[1], dict) and not depth):
        name = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            yield from ([] if depth else [""])
            yield f"{indent}{key}:"
            yield from _lines(value, reasons, name, depth + 1)
        else:
            in_a_line = None if isinstance(value, list) else False
            written = yaml.safe_dump({key: value}, allow_unicode=True, width=10_000, default_flow_style=in_a_line).rstrip("\n")
            written = indent + written
            yield f"{written.ljust(COLUMN)}  # {reasons[name]}" if name in reasons else written
