"""The frame of every stage's script: options in, messages to the terminal and to a log file, one clear error out."""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from selfsv.errors import InputError, StalledError, lasting, printable

FAILED, INTERRUPTED = 1, 130
LOG = logging.getLogger("selfsv")

MESSAGES = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
MESSAGES.add_argument("--log", type=Path, help="a file for all messages; it is begun anew")
MESSAGES.add_argument("--quiet", action="store_true", help="show warnings and errors only on the terminal")


def parser(
    description: str | None, *, inputs: tuple[str, ...] = (), outputs: tuple[str, ...] = (), settings: bool = True
) -> argparse.ArgumentParser:
    """A parser with `--settings` (unless the stage has none) and a path option per name in `inputs` and `outputs`, all required."""
    arguments = argparse.ArgumentParser(description=description, parents=[MESSAGES], allow_abbrev=False)
    if settings:
        arguments.add_argument("--settings", required=True, help="settings as JSON, or a YAML or JSON file")
    for name in inputs + outputs:
        arguments.add_argument(f"--{name.replace('_', '-')}", dest=name, type=Path, required=True)
    return arguments


def run(main: Callable[[], None]) -> None:
    """Call a script's `main` with logging to standard error, and to the file that its option `--log` names.

    What a user can act on ends in one message and status 1; only a fault of ours shows a traceback.
    """
    try:
        start_logging()
        main()
    except KeyboardInterrupt:
        LOG.error("interrupted")
        sys.exit(INTERRUPTED)
    except Exception as error:
        message = str(error) if isinstance(error, InputError | StalledError | OSError) else lasting(error)
        if message is None:
            LOG.exception("this is a fault of the code: please report it")
        else:
            LOG.error("%s", message)
        sys.exit(FAILED)


def start_logging() -> None:
    """Send messages, and Python's warnings, where the options on the command line say.

    Of the processes of one training, the first has its messages in the file. The others have only their errors there.

    Raises:
        OSError: the file cannot be written.
    """
    # Before the script reads its own options: no message is too early for the file.
    options, _ = MESSAGES.parse_known_args()
    formatter = _Printable("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.WARNING if options.quiet else logging.INFO)
    terminal.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[terminal])
    logging.captureWarnings(True)
    if options.log:
        file = LogFile(options.log, first=os.environ.get("RANK", "0") == "0")
        file.setFormatter(formatter)
        logging.getLogger().addHandler(file)


class LogFile(logging.FileHandler):
    """A job's log. Each message is in the file at once.

    Args:
        first: whether this process begins the file.
    """

    def __init__(self, path: Path, *, first: bool):
        path.parent.mkdir(parents=True, exist_ok=True)
        if first:
            path.write_bytes(b"")
        # To its end, whatever that is by then: a job that outlived its Snakemake may still write to the same file.
        super().__init__(path, mode="a", encoding="utf-8", errors="backslashreplace")
        self.setLevel(logging.INFO if first else logging.ERROR)


class _Printable(logging.Formatter):
    """Shows what could steer a terminal as text; lines of a message stay lines."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n")
