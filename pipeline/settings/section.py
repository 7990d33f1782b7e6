"""What all groups of settings have in common."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import SettingsError

Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]

Model = TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """A group of settings: immutable, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def read(cls, source: str) -> Self:
        """The settings in `source`: JSON text, or the path of a YAML or JSON file.

        Raises:
            SettingsError: a key is unknown, missing or has a value out of range.
        """
        text = source if source.lstrip().startswith("{") else Path(source).read_text(encoding="utf-8")
        return validated(cls, yaml.safe_load(text))

    def to_json(self) -> str:
        """One line of JSON with sorted keys, the form in which the workflow hands settings to a script."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


def validated(section: type[Model], values: object) -> Model:
    """`values` as a `section`, with pydantic's findings turned into one message a person can act on."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise SettingsError("\n".join(_complaint(finding) for finding in error.errors())) from None


def _complaint(finding: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in finding["loc"]) or "the configuration"
    if finding["type"] == "extra_forbidden":
        return f"unknown config key '{key}': remove it or correct its spelling (config.yaml lists every key)"
    return f"config key '{key}': {finding['msg']} (got {finding.get('input')!r})"
