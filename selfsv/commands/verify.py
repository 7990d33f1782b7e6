"""do two recordings hold the same speaker's voice?

    selfsv verify --model results/demo first.wav second.wav
    selfsv verify --model results/demo --trials results/demo/iter_2/scores/demo.parquet --at far=0.01 first.wav second.wav

Prints the score, and a decision where a threshold is given or chosen on scored trials.
"""

import argparse
import json

from pipeline.errors import InputError
from selfsv.commands.embedding import all_embedded
from selfsv.commands.options import add_json, add_model, add_norm, add_threshold, model_from, threshold_from
from selfsv.commands.status import DONE, NO
from selfsv.recordings import STANDARD_INPUT, named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("first", metavar="A", help="a recording, or - for standard input")
    parser.add_argument("second", metavar="B", help="the other one")
    add_model(parser)
    add_norm(parser)
    add_threshold(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Embed both, compare, decide."""
    threshold = threshold_from(args, args.norm)
    model = model_from(args)
    sides = [args.first] if args.first == args.second != STANDARD_INPUT else [args.first, args.second]
    with named(sides) as recordings:
        if len(recordings) != len(sides):
            raise InputError(f"{' and '.join(sides)} hold {len(recordings)} recordings: verify compares two files")
        voices = all_embedded(model, recordings, args.threads)
    score = model.compare(voices.embeddings[0], voices.embeddings[-1], args.norm)
    same = None if threshold is None else score >= threshold.value
    if args.json:
        line = {} if threshold is None else {"threshold": threshold.value, "meaning": threshold.meaning}
        print(json.dumps({"score": score, "norm": args.norm, "same": same, **line}))
    else:
        print(f"score {score:.4f} ({args.norm})")
        if threshold is not None:
            print(f"{'the same speaker' if same else 'different speakers'}: {threshold.meaning}")
    return NO if same is False else DONE
