"""Packages of the extras, which an installation may lack."""

from importlib import import_module
from typing import Any

from selfsv.errors import InputError


def package(name: str, extra: str) -> Any:
    """The package `name`.

    Raises:
        InputError: it is missing; the message names the extra of `selfsv` that has it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(f"the package {error.name} is missing: pip install 'selfsv[{extra}]'") from None
