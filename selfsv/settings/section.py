"""The base of all groups of settings."""

import json
import reprlib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from selfsv.errors import SettingsError, printable
from selfsv.settings.reading import parsed

Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]

COMPLAINTS = 20  # in one message
# A value in a message: aliases can make a few lines of YAML stand for more than any memory holds.
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 200
SHORT.maxlevel = 2

Model = TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """A group of settings: immutable, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def read(cls, source: str) -> Self:
        """The settings in `source`: JSON text, or the path of a YAML or JSON file.

        Raises:
            SettingsError: it cannot be read, or a key is unknown, missing, there twice or has a value out of range.
        """
        if source.lstrip().startswith("{"):
            return validated(cls, parsed(source))
        try:
            return validated(cls, parsed(Path(source).read_text(encoding="utf-8")))
        except ValueError as error:  # of the file's content, or of its encoding
            raise SettingsError(f"{source}: {error}") from None

    def to_json(self) -> str:
        """One line of JSON with sorted keys, the form in which the workflow hands settings to a script."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


def merged(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with what `changes` names, key by key; keys keep the order of `config`."""
    result = dict(config)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def validated(section: type[Model], values: object) -> Model:
    """`values` as a `section`, with pydantic's findings turned into one message a person can act on."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        findings = error.errors(include_url=False)
        more = [f"and {len(findings) - COMPLAINTS} more"] if len(findings) > COMPLAINTS else []
        raise SettingsError("\n".join([*map(_complaint, findings[:COMPLAINTS]), *more])) from None


def _complaint(finding: Mapping[str, Any]) -> str:
    key = printable(".".join(str(part)[:100] for part in finding["loc"])) or "the configuration"
    if finding["type"] == "extra_forbidden":
        return f"unknown config key '{key}': remove it or correct its spelling (config.yaml lists every key)"
    return f"config key '{key}': {finding['msg']} (got {SHORT.repr(finding.get('input'))}){_advice(finding)}"


def _advice(finding: Mapping[str, Any]) -> str:
    """Advice on a key that is left empty, and on a text that YAML takes for something else."""
    value = finding.get("input")
    if value is None:
        return ": the key is empty; write a value, or remove the key"
    if finding["type"] != "string_type" or not isinstance(value, bool | int | float | date):
        return ""
    if isinstance(value, bool):
        words = ("yes", "on", "true") if value else ("no", "off", "false")
        return f": YAML takes an unquoted {', '.join(words)} for {str(value).lower()}; write it in quotes, '{words[0]}'"
    return f": write it in quotes, '{value}'"
