"""The program `selfsv`: what one does with a trained model."""

import argparse
import logging
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import TextIO

from selfsv import __version__
from selfsv.cli.status import BROKEN_PIPE, ERROR, INTERRUPTED, explained
from selfsv.errors import InputError, printable
from selfsv.inference.failures import reason_of

COMMANDS = ("init", "plan", "embed", "verify", "enroll", "identify", "score", "monitor", "compare", "explore", "export", "push", "inspect")


def main(arguments: list[str] | None = None) -> int:
    """Run the command that `arguments` (of the command line, where None) name; returns the exit status.

    No exception leaves it but argparse's SystemExit, whose status is 2: Python would end with 1, which means "no".
    """
    try:
        try:
            return _run(arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # not when the interpreter ends: what cannot be written is an error, too
    except BrokenPipeError:
        status = BROKEN_PIPE
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Exception as error:
        status = ERROR
        with suppress(OSError):
            foreseen = isinstance(error, InputError | OSError) and str(error)
            print(f"selfsv: {printable(str(error) if foreseen else reason_of(error), keep=chr(10))}", file=sys.stderr)
    _discard(sys.stdout)
    _discard(sys.stderr)
    return status


def _run(arguments: list[str] | None) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("selfsv").setLevel(logging.INFO)
    logging.captureWarnings(True)
    args = parser().parse_args(arguments)
    return args.run(args)


def _discard(stream: TextIO | None) -> None:
    """Drop what `stream` has not been able to write: the interpreter would try again at its end, and exit with 120."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def parser() -> argparse.ArgumentParser:
    """The options of all commands."""
    raw = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser("selfsv", description=__doc__, epilog=explained(), formatter_class=raw, allow_abbrev=False)
    made.add_argument("--version", action="version", version=f"selfsv {__version__}")
    commands = made.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        command = import_module(f"selfsv.cli.{name}")  # not at the top of this file: Torch may fail to load
        summary = (command.__doc__ or "").partition("\n")[0]
        options = commands.add_parser(
            name,
            help=summary,
            description=command.__doc__,
            epilog=explained(),
            formatter_class=raw,
            allow_abbrev=False,
        )
        command.add_arguments(options)
        options.set_defaults(run=command.run)
    return made


def command() -> None:
    """The program that an installation makes."""
    sys.exit(main())


if __name__ == "__main__":
    command()
