"""what is in an experiment, a model file or an exported folder

selfsv inspect results/demo
selfsv inspect results/demo/iter_2/model.pt --json
"""

import argparse
import json
from pathlib import Path

from selfsv.cli.options import add_json
from selfsv.cli.status import DONE
from selfsv.inference.inspection import described, text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("path", type=Path, metavar="PATH", help="an experiment's or a round's folder, a model.pt, or an exported folder")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Look and tell."""
    description = described(args.path)
    print(json.dumps(description) if args.json else text(description))
    return DONE
