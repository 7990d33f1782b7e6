"""do two recordings hold the same speaker's voice?

    selfsv verify --model results/demo first.wav second.wav
    selfsv verify --model results/demo --trials results/demo/iter_2/scores/demo.parquet --at far=0.01 first.wav second.wav

Prints the score, and a decision where a threshold is given or chosen on scored trials. Exit status: 0 the same speaker, 1 different
speakers, 4 no decision, as there is no threshold.
"""

import argparse
import json

from selfsv.cli.embedding import all_embedded
from selfsv.cli.options import HOW_TO_DECIDE, add_json, add_model, add_norm, add_threshold, explained, model_from, threshold_from
from selfsv.cli.status import DONE, NO, UNDECIDED
from selfsv.errors import InputError
from selfsv.inference.recordings import named

NO_DECISION = f"no decision: {HOW_TO_DECIDE}"


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
    sides = [args.first, args.second]
    with named(sides) as recordings:
        if len(recordings) != len(sides):
            raise InputError(f"{' and '.join(sides)} hold {len(recordings)} recordings: verify compares two files")
        voices = all_embedded(model, recordings, args.threads)
    score = model.compare(voices.embeddings[0], voices.embeddings[-1], args.norm)
    same = None if threshold is None else score >= threshold.value
    if args.json:
        print(json.dumps({"score": score, "norm": args.norm, "same": same, **explained(threshold, NO_DECISION)}))
    else:
        print(f"score {score:.4f} ({args.norm})")
        print(NO_DECISION if threshold is None else f"{'the same speaker' if same else 'different speakers'}: {threshold.meaning}")
    return UNDECIDED if same is None else DONE if same else NO
