"""Whether a stage's script knows the options that a benchmark calls it with, without carrying it out."""

import argparse
import importlib
import sys
from collections.abc import Sequence

import pytest


class ParsedError(Exception):
    """The command line was understood."""


def assert_understood(module: str, options: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m module options` gets as far as its parsed arguments."""
    parse = argparse.ArgumentParser.parse_args

    def parsed(self: argparse.ArgumentParser) -> None:
        parse(self)
        raise ParsedError

    with monkeypatch.context() as patched:
        patched.setattr(argparse.ArgumentParser, "parse_args", parsed)
        patched.setattr(sys, "argv", [module, *options])
        with pytest.raises(ParsedError):
            importlib.import_module(module).main()
