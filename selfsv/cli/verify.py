"""do two recordings hold the same speaker's voice?

    selfsv verify --model results/demo first.wav second.wav
    selfsv verify --model results/demo --prior 0.01 first.wav second.wav
    selfsv verify --model results/demo --trials results/demo/iter_2/scores/demo.parquet --at far=0.01 first.wav second.wav

Prints the score, the log-likelihood ratio and, for a prior, how probable one speaker is. It decides by that probability, or by a
threshold where one is given or chosen on scored trials. Beside it are each recording's seconds of speech, signal-to-noise ratio and
clipping, all estimated; no decision depends on them. Exit status: 0 the same speaker, 1 different speakers, 4 no decision, as the
model has no calibration and there is no threshold.
"""

import argparse
import json
from typing import Any

from scipy.special import expit, logit

from selfsv.cli.embedding import Voices, all_embedded
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
from selfsv.cli.status import DONE, NO, UNDECIDED
from selfsv.errors import InputError, printable
from selfsv.inference.recordings import named
from selfsv.inference.speaker_model import SpeakerModel
from selfsv.inference.thresholds import Threshold

NO_DECISION = f"no decision: {HOW_TO_DECIDE}"
CALIBRATED_ON = "the model's calibration comes from clusters of its training recordings, not from labelled trials"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("first", metavar="A", help="a recording, or - for standard input")
    parser.add_argument("second", metavar="B", help="the other one")
    parser.add_argument(
        "--prior",
        type=float,
        default=0.5,
        metavar="P",
        help="probability of one speaker before listening (default: 0.5)",
    )
    add_model(parser)
    add_vad(parser)
    add_norm(parser)
    add_threshold(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Embed both, compare, decide."""
    if not 0 < args.prior < 1:
        raise InputError(f"--prior {args.prior:g} leaves nothing to decide: choose a probability between 0 and 1")
    threshold = threshold_from(args, args.norm)
    model, detector = model_from(args), detector_from(args)
    sides = [args.first, args.second]
    with named(sides) as recordings:
        if len(recordings) != len(sides):
            raise InputError(f"{' and '.join(sides)} hold {len(recordings)} recordings: verify compares two files")
        voices = all_embedded(model, recordings, args.threads, detector)
    score = model.compare(voices.embeddings[0], voices.embeddings[-1], args.norm)
    rated = ratio(model, voices, args.prior)
    same, meaning = decision(score, rated, threshold)
    if args.json:
        quality = [{**each._asdict(), "doubts": each.doubts()} for each in voices.qualities]
        found = {"score": score, "norm": args.norm, **rated, "same": same, **explained(threshold, meaning), "decided": same is not None}
        print(json.dumps({**found, "quality": quality}))
    else:
        print("\n".join([*lines(score, args.norm, rated, same, meaning), *quality_lines(voices)]))
    return UNDECIDED if same is None else DONE if same else NO


def ratio(model: SpeakerModel, voices: Voices, prior: float) -> dict[str, Any]:
    """The log-likelihood ratio and the posterior, and why not to trust them; None each without a calibration."""
    if model.calibration is None:
        return dict.fromkeys(("llr", "prior", "posterior", "doubts"))
    llr = model.llr(voices.embeddings[0], voices.embeddings[-1], (voices.seconds[0], voices.seconds[-1]))
    return {"llr": llr, "prior": prior, "posterior": float(expit(llr + logit(prior))), "doubts": model.calibration.doubts}


def decision(score: float, rated: dict[str, Any], threshold: Threshold | None) -> tuple[bool | None, str]:
    """The decision for one speaker (None: there is nothing to decide by), and its reason."""
    if threshold is not None:
        return score >= threshold.value, threshold.meaning
    if rated["llr"] is None:
        return None, NO_DECISION
    return rated["posterior"] >= 0.5, f"whichever is more probable; {CALIBRATED_ON}"


def lines(score: float, norm: str, rated: dict[str, Any], same: bool | None, meaning: str) -> list[str]:
    """The lines to print."""
    found = [f"score {score:.4f} ({norm})"]
    if rated["llr"] is not None:
        found.append(
            f"log-likelihood ratio {rated['llr']:.2f}: one speaker with probability {rated['posterior']:.3g}, before {rated['prior']:g}"
        )
    found.append(meaning if same is None else f"{'the same speaker' if same else 'different speakers'}: {meaning}")
    return [*found, f"do not trust the ratio: {rated['doubts']}"] if rated["doubts"] else found


def quality_lines(voices: Voices) -> list[str]:
    """A line per recording: how much speech, how clean, and what speaks against a decision."""
    found = []
    for recording, quality in zip(voices.recordings, voices.qualities, strict=True):
        doubts = quality.doubts()
        found.append(f"{printable(recording.shown)}: {quality.text()}" + (f"; weak evidence: {', '.join(doubts)}" if doubts else ""))
    return found
