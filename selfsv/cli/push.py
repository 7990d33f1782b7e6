"""upload a model to a hub, from where `selfsv.load("organisation/model")` fetches it

    selfsv export results/demo --into my-model --licence cc-by-4.0
    selfsv push my-model organisation/my-model
    selfsv verify --model organisation/my-model first.wav second.wav

The hub is Hugging Face's, or the one that the environment variable HF_ENDPOINT names. Log in with `hf auth login`, or set HF_TOKEN.
The card gets a `model-index` with the error rates of the experiment and their intervals, so that hubs show them.
"""

import argparse
import json
from pathlib import Path

from selfsv.cli.options import add_json
from selfsv.cli.status import DONE
from selfsv.errors import InputError
from selfsv.inference import exported, hub


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("model", type=Path, metavar="DIR", help="a folder that `selfsv export` wrote")
    parser.add_argument("name", metavar="ORG/NAME", help="what the model is called on the hub")
    parser.add_argument("--private", action="store_true", help="only for those whom the hub lets see it, if it is made now")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Upload, say where it is."""
    if not args.model.is_dir() or not exported.is_exported(args.model):
        raise InputError(f"{args.model} is no exported folder: write one with `selfsv export MODEL --into DIR --licence ID`")
    place = hub.push(args.model, args.name, private=args.private)
    print(json.dumps({"model": args.name, "at": place}) if args.json else f"{args.name}: {place}")
    return DONE
