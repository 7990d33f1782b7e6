"""whose voice is it? compare recordings with everybody in a gallery

    selfsv identify --model results/demo --gallery team.parquet unknown.wav
    selfsv identify --model results/demo --gallery team.parquet --threshold 0.6 meeting/

Prints the most similar speakers of each recording. A model with a calibration decides for the most probable: one of the speakers, or
nobody whom the gallery knows, and says how sure that is. A threshold comes first where there is one: whoever stays below it is nobody
that is known. With neither, the answer is only the nearest enrolled speaker, also for somebody whom the gallery does not know.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from selfsv.cli.embedding import embedded, reasons
from selfsv.cli.options import (
    HOW_TO_DECIDE,
    add_json,
    add_model,
    add_norm,
    add_threshold,
    add_vad,
    detector_from,
    explained,
    model_from,
    threshold_from,
)
from selfsv.cli.status import DONE, NO, SOME
from selfsv.cli.verify import CALIBRATED_ON
from selfsv.errors import InputError
from selfsv.inference.gallery import Gallery
from selfsv.inference.recordings import named, refuse_same_names

NEAREST = f"only the nearest enrolled speaker, who need not be the one who speaks: {HOW_TO_DECIDE}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("recordings", nargs="+", metavar="PATH", help="files, folders, or - for standard input")
    parser.add_argument("--gallery", type=Path, required=True, metavar="FILE", help="made by `selfsv enroll`")
    parser.add_argument("--top", type=int, default=3, metavar="N", help="how many speakers to show (default: 3)")
    parser.add_argument(
        "--references",
        choices=["mean", "best"],
        default="mean",
        help="compare with the mean of a speaker's recordings, or the best of them",
    )
    parser.add_argument(
        "--prior", type=float, default=0.5, metavar="P", help="probability, before listening, that a speaker is enrolled (default: 0.5)"
    )
    add_model(parser)
    add_vad(parser)
    add_norm(parser)
    add_threshold(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Embed, compare with the gallery, rank, decide."""
    if not 0 < args.prior < 1:
        raise InputError(f"--prior {args.prior:g} leaves nothing to decide: choose a probability between 0 and 1")
    threshold = threshold_from(args, args.norm)
    model, detector = model_from(args), detector_from(args)
    gallery = Gallery.open(args.gallery, model)
    with named(args.recordings) as recordings:
        refuse_same_names(recordings)
        voices = embedded(model, recordings, args.threads, detector)
    scores = gallery.scores(voices.embeddings, args.norm, args.references)
    ratios = None if model.calibration is None else gallery.llrs(voices.embeddings, np.array(voices.seconds), args.references)
    rows = [
        _row(recording.name, gallery.speakers, scores[index], None if ratios is None else posteriors(ratios[index], args.prior), args.top)
        for index, recording in enumerate(voices.recordings)
    ]
    for row in rows:
        row["speaker"] = decided(row, None if threshold is None else threshold.value)
        if "posterior" in row:
            row["probability"] = row["unknown"] if row["speaker"] is None else row["posterior"][row["speaker"]]
            row["posterior"] = dict(list(row["posterior"].items())[: max(1, args.top)])
    meaning = explained(threshold, NEAREST)
    if threshold is None and model.calibration is not None:
        doubts = f"; do not trust it: {model.calibration.doubts}" if model.calibration.doubts else ""
        meaning = {"decided": True, "prior": args.prior, "meaning": f"whoever is most probable; {CALIBRATED_ON}{doubts}"}
    if args.json:
        print(json.dumps({"norm": args.norm, **meaning, "identified": rows, "rejected": reasons(voices.rejected)}))
    else:
        print("\n".join([*map(_line, rows), meaning["meaning"]]))
    if any(row["speaker"] is None for row in rows):
        return NO
    return SOME if voices.rejected else DONE


def posteriors(ratios: np.ndarray, prior: float) -> np.ndarray:
    """[S + 1] probabilities that each of S speakers spoke, and last that somebody else did, by Bayes' rule.

    Args:
        ratios: [S] log-likelihood ratios of one recording with each speaker.
        prior: that one of them speaks, all of them alike.
    """
    odds = np.append(ratios + np.log(prior / len(ratios)), np.log1p(-prior))
    return softmax(odds)


def _row(name: str, speakers: list[str], scores: np.ndarray, probabilities: np.ndarray | None, top: int) -> dict[str, Any]:
    row: dict[str, Any] = {"recording": name, "speaker": None, "ranked": dict(_ranked(speakers, scores)[: max(1, top)])}
    if probabilities is not None:
        row |= {"posterior": dict(_ranked(speakers, probabilities[:-1])), "unknown": float(probabilities[-1])}
    return row


def decided(row: dict[str, Any], threshold: float | None) -> str | None:
    """Who it is, None for nobody known: by the threshold, else by the posterior, else the nearest."""
    nearest, score = next(iter(row["ranked"].items()))
    if threshold is not None:
        return nearest if score >= threshold else None
    if "posterior" not in row:
        return nearest
    likeliest, posterior = next(iter(row["posterior"].items()))
    return likeliest if posterior >= row["unknown"] else None


def _ranked(speakers: list[str], scores: np.ndarray) -> list[tuple[str, float]]:
    return [(speakers[index], float(scores[index])) for index in np.argsort(-scores, kind="stable")]


def _line(row: dict[str, Any]) -> str:
    ranked = ", ".join(f"{name} {score:.4f}" for name, score in row["ranked"].items())
    sure = f"; probability {row['probability']:.3g}" if "probability" in row else ""
    return f"{row['recording']}: {row['speaker'] or 'nobody known'} ({ranked}{sure})"
