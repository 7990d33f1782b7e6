"""The program `selfsv`: what one does with a trained model.

Exit status: 0 done (`verify`: the same speaker; `identify`: everybody known), 1 no (`verify`: different speakers; `identify`:
somebody unknown), 2 an error, said in one message, 3 done, but some recordings could not be used.
"""

import argparse
import logging
import os
import sys

from pipeline.errors import InputError, printable
from selfsv import __version__
from selfsv.commands import embed, enroll, export, identify, inspect, score, verify
from selfsv.commands.status import ERROR

COMMANDS = (embed, verify, enroll, identify, score, export, inspect)


def main(arguments: list[str] | None = None) -> int:
    """Run the command that `arguments` (of the command line, where None) name; returns the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("pipeline").setLevel(logging.INFO)
    logging.captureWarnings(True)
    args = parser().parse_args(arguments)
    try:
        return args.run(args)
    except BrokenPipeError:  # whoever read the output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except KeyboardInterrupt:
        return 128 + 2  # as a shell reports it
    except (InputError, OSError) as error:
        print(f"selfsv: {printable(str(error), keep=chr(10))}", file=sys.stderr)
        return ERROR


def parser() -> argparse.ArgumentParser:
    """The options of all commands."""
    description, _, status = (__doc__ or "").partition("\n\n")
    made = argparse.ArgumentParser("selfsv", description=description, epilog=status, allow_abbrev=False)
    made.add_argument("--version", action="version", version=f"selfsv {__version__}")
    commands = made.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        summary = (command.__doc__ or "").partition("\n")[0]
        options = commands.add_parser(
            name,
            help=summary,
            description=command.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
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
