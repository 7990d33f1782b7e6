"""whose voice is it? compare recordings with everybody in a gallery

    selfsv identify --model results/demo --gallery team.parquet unknown.wav
    selfsv identify --model results/demo --gallery team.parquet --threshold 0.6 meeting/

Prints the most similar speakers of each recording. With a threshold, whoever stays below it is nobody the gallery knows. Without one,
the answer is only the nearest enrolled speaker, also for somebody whom the gallery does not know.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from selfsv.cli.embedding import embedded, reasons
from selfsv.cli.options import HOW_TO_DECIDE, add_json, add_model, add_norm, add_threshold, explained, model_from, threshold_from
from selfsv.cli.status import DONE, NO, SOME
from selfsv.inference.gallery import Gallery
from selfsv.inference.recordings import named, refuse_same_names

NEAREST = f"only the nearest enrolled speaker, who need not be the one who speaks: {HOW_TO_DECIDE}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("recordings", nargs="+", metavar="PATH", help="files, folders, or - for standard input")
    parser.add_argument("--gallery", type=Path, required=True, metavar="FILE", help="made by `selfsv enroll`")
    parser.add_argument("--top", type=int, default=3, metavar="N", help="how many speakers to show (default: 3)")
    add_model(parser)
    add_norm(parser)
    add_threshold(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Embed, compare with the gallery, rank."""
    threshold = threshold_from(args, args.norm)
    model = model_from(args)
    gallery = Gallery.open(args.gallery, model)
    with named(args.recordings) as recordings:
        refuse_same_names(recordings)
        voices = embedded(model, recordings, args.threads)
    scores = gallery.scores(voices.embeddings, args.norm)
    line = -np.inf if threshold is None else threshold.value
    rows: list[dict[str, Any]] = [
        {"recording": recording.name, "speaker": ranked[0][0] if ranked[0][1] >= line else None, "ranked": dict(ranked[: max(1, args.top)])}
        for recording, ranked in zip(voices.recordings, (_ranked(gallery.speakers, row) for row in scores), strict=True)
    ]
    if args.json:
        meaning = explained(threshold, NEAREST)
        print(json.dumps({"norm": args.norm, **meaning, "identified": rows, "rejected": reasons(voices.rejected)}))
    else:
        for row in rows:
            print(_line(row))
        print(NEAREST if threshold is None else threshold.meaning)
    if any(row["speaker"] is None for row in rows):
        return NO
    return SOME if voices.rejected else DONE


def _ranked(speakers: list[str], scores: np.ndarray) -> list[tuple[str, float]]:
    return [(speakers[index], float(scores[index])) for index in np.argsort(-scores, kind="stable")]


def _line(row: dict[str, Any]) -> str:
    ranked = ", ".join(f"{name} {score:.4f}" for name, score in row["ranked"].items())
    return f"{row['recording']}: {row['speaker'] or 'nobody known'} ({ranked})"
