"""a folder to share: safetensors, config, model card and, with --onnx or --sherpa, graphs for other runtimes

    selfsv export results/demo --into my-model --licence cc-by-4.0 --onnx
    selfsv export results/demo --into my-model --sherpa
    selfsv export my-model.pt --into my-model --sherpa --recordings voices/

model.onnx goes from waveform to embedding. sherpa.onnx is for sherpa-onnx, which computes its own features. A map from these to the model's
is fitted to real recordings: the experiment's training corpus, or --recordings. The cosine between both ways' embeddings of other
recordings is printed, and the export fails if it is less than --least-cosine on average.
"""

import argparse
import json
from pathlib import Path

from selfsv.cli.options import add_json
from selfsv.cli.status import DONE
from selfsv.errors import InputError
from selfsv.inference.export import Contents, export
from selfsv.inference.recordings import named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("model", type=Path, metavar="PATH", help="an experiment's folder (its last round), a round's folder, or a model.pt")
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="the folder to make")
    parser.add_argument("--name", help="what the model is called (default: the folder's name)")
    parser.add_argument("--licence", default="unknown", metavar="ID", help="of the weights, as model hubs name it, e.g. cc-by-4.0")
    parser.add_argument("--onnx", action="store_true", help="also write model.onnx (needs the packages of selfsv[onnx])")
    parser.add_argument("--int8", action="store_true", help="with --onnx: also model-int8.onnx, smaller, and faster for large encoders")
    parser.add_argument("--sherpa", action="store_true", help="also write sherpa.onnx (needs the packages of selfsv[sherpa])")
    parser.add_argument("--recordings", nargs="+", default=[], metavar="PATH", help="files and folders that --sherpa fits and checks with")
    parser.add_argument("--least-cosine", type=float, default=0.98, metavar="C", help="below which --sherpa fails (default: 0.98)")
    parser.add_argument("--replace", action="store_true", help="replace what is in DIR")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Export and say what was written."""
    if args.recordings and not args.sherpa:
        raise InputError("--recordings fit and check the features of sherpa-onnx: add --sherpa")
    if args.int8 and not args.onnx:
        raise InputError("--int8 is another form of the graph that --onnx writes: give both")
    with named(args.recordings) as recordings:
        contents = Contents(
            name=args.name or args.into.resolve().name,
            licence=args.licence,
            onnx=args.onnx,
            int8=args.int8,
            sherpa=args.sherpa,
            recordings=[recording.path for recording in recordings],
            least_cosine=args.least_cosine,
        )
        written = export(args.model, args.into, contents, replace=args.replace)
    if args.json:
        print(json.dumps({"folder": str(args.into), "files": written.files} | ({"sherpa": written.agreement} if args.sherpa else {})))
    else:
        print(f"{args.into}: {', '.join(written.files)}")
        if written.agreement:
            print(written.agreement)
    return DONE
