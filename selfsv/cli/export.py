"""a folder to share: safetensors, config, model card and, with --onnx, a graph from waveform to embedding

selfsv export results/demo --into my-model --licence cc-by-4.0
"""

import argparse
import json
from pathlib import Path

from selfsv.cli.options import add_json
from selfsv.cli.status import DONE
from selfsv.inference.export import export


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("model", type=Path, metavar="PATH", help="an experiment's folder (its last round), a round's folder, or a model.pt")
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="the folder to make")
    parser.add_argument("--name", help="what the model is called (default: the folder's name)")
    parser.add_argument("--licence", default="unknown", metavar="ID", help="of the weights, as model hubs name it, e.g. cc-by-4.0")
    parser.add_argument("--onnx", action="store_true", help="also write model.onnx (needs the packages of selfsv[onnx])")
    parser.add_argument("--replace", action="store_true", help="replace what is in DIR")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Export and say what was written."""
    written = export(
        args.model, args.into, name=args.name or args.into.resolve().name, licence=args.licence, onnx=args.onnx, replace=args.replace
    )
    print(json.dumps({"folder": str(args.into), "files": written}) if args.json else f"{args.into}: {', '.join(written)}")
    return DONE
