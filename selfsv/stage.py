"""How every stage's script is called: arguments in, one clear error out."""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from selfsv.errors import InputError, lasting, printable

FAILED = 1


def parser(
    description: str | None, *, inputs: tuple[str, ...] = (), outputs: tuple[str, ...] = (), settings: bool = True
) -> argparse.ArgumentParser:
    """A parser with `--settings` (unless the stage has none) and a path option per name in `inputs` and `outputs`, all required."""
    made = argparse.ArgumentParser(description=description, allow_abbrev=False)
    if settings:
        made.add_argument("--settings", required=True, help="settings as JSON, or a YAML or JSON file")
    for name in inputs + outputs:
        made.add_argument(f"--{name.replace('_', '-')}", dest=name, type=Path, required=True)
    return made


class _Printable(logging.Formatter):
    """Shows what could steer a terminal as text; lines of a message stay lines."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n")


def run(main: Callable[[], None]) -> None:
    """Call a script's `main` with logging to standard error.

    What a user can act on ends in one message and status 1; only a fault of ours shows a traceback.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(True)
    try:
        main()
    except Exception as error:
        message = str(error) if isinstance(error, InputError | OSError) else lasting(error)
        if message is None:
            raise
        logging.getLogger("selfsv").error("%s", message)
        sys.exit(FAILED)
