"""Settings as text, read strictly: what a file says twice is refused, and it can neither run anything nor grow."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from selfsv.errors import SettingsError


class _Checked(yaml.SafeLoader):
    """Refuses keys that are twice in one mapping."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                _refuse_twice(key.value, keys, f"line {key.start_mark.line + 1}: ")
        return node


class _Strict(_Checked):
    """Refuses aliases, too, with which a few lines can stand for more than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise SettingsError(f"line {self.peek_event().start_mark.line + 1}: no aliases (`*name`) here: write the values out")
        return super().compose_node(parent, index)


def parsed(text: str) -> Any:
    """The value that `text` stands for, as JSON or else as YAML of plain values.

    Raises:
        SettingsError: it is neither, names a key twice, is nested too deeply, or has YAML's aliases.
    """
    return _read(text, lambda: yaml.load(text, _Strict))  # a SafeLoader


def read_file(path: Path) -> dict[str, Any]:
    """The mapping in a JSON or YAML file, read as `parsed` does.

    Raises:
        SettingsError: there is no such file, or no mapping of plain values in it; the message names the file.
    """
    try:
        values = parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except (SettingsError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{path} holds no settings: keys and values are expected there")
    return values


def check_file(path: Path) -> None:
    """Refuse a configuration file in which a key is there twice: YAML would silently take the last one.

    Raises:
        SettingsError: a key does; the message names the file, the line and the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        _read(text, lambda: yaml.compose(text, _Checked))  # composed and not constructed: aliases stay aliases
    except (SettingsError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None


def _read(text: str, read_yaml: Callable[[], Any]) -> Any:
    try:
        try:
            return json.loads(text, object_pairs_hook=_mapping)
        except json.JSONDecodeError:
            return read_yaml()
    except RecursionError:
        raise SettingsError("nested too deeply") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"neither JSON nor YAML of plain values: {error}") from None


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys: set[str] = set()
    for key, _ in pairs:
        _refuse_twice(key, keys)
    return dict(pairs)


def _refuse_twice(key: str, keys: set[str], where: str = "") -> None:
    if key in keys:
        raise SettingsError(f"{where}the key {key[:100]!r} is there twice: remove one of them")
    keys.add(key)
