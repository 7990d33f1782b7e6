"""Options that several commands share, and what they mean."""

import argparse
import os
from pathlib import Path
from typing import Any

import torch

from selfsv.errors import InputError
from selfsv.inference import thresholds
from selfsv.inference.loading import load
from selfsv.inference.speaker_model import Norm, SpeakerModel
from selfsv.inference.thresholds import Threshold
from selfsv.prepare.speech_detection import SpeechDetector

HOW_TO_DECIDE = "decide with --threshold SCORE, or with --trials FILE, which chooses a threshold on scored trials"


def add_model(parser: argparse.ArgumentParser) -> None:
    """Options of the model and its device."""
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="PATH",
        help="an experiment's folder (its last round), a round's folder, a model.pt, or an exported folder",
    )
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Options of the device."""
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto: a GPU where there is one")
    parser.add_argument("--threads", type=_positive, default=os.cpu_count() or 1, metavar="N", help="CPU threads (default: all cores)")


def add_vad(parser: argparse.ArgumentParser) -> None:
    """Add `--vad`."""
    parser.add_argument(
        "--vad", action="store_true", help="embed the speech alone, without pauses, music and noise (Silero VAD: pip install 'selfsv[vad]')"
    )


def detector_from(args: argparse.Namespace) -> SpeechDetector | None:
    """The detector that `--vad` asks for; None without the option.

    Raises:
        InputError: its package is missing.
    """
    return SpeechDetector() if args.vad else None


def add_json(parser: argparse.ArgumentParser) -> None:
    """Output for programs."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def add_norm(parser: argparse.ArgumentParser) -> None:
    """Which scores."""
    parser.add_argument(
        "--norm", choices=["cosine", "snorm"], default="cosine", help="snorm: adaptive s-norm against the training corpus's pseudo clusters"
    )


def add_threshold(parser: argparse.ArgumentParser) -> None:
    """Options of the threshold."""
    line = parser.add_mutually_exclusive_group()
    line.add_argument("--threshold", type=float, metavar="SCORE", help="scores from this on count as the same speaker")
    line.add_argument(
        "--trials",
        type=Path,
        metavar="FILE",
        help="choose the threshold on these scored trials: a Parquet or CSV file of `selfsv score`, or results/.../scores/...parquet",
    )
    parser.add_argument("--at", metavar="GOAL", help=f"what the threshold is to reach on --trials: {thresholds.GOALS} (default: eer)")


def model_from(args: argparse.Namespace) -> SpeakerModel:
    """The model that the options of `add_model` name."""
    torch.set_num_threads(args.threads)
    return load(args.model, args.device)


def threshold_from(args: argparse.Namespace, norm: Norm) -> Threshold | None:
    """The threshold that the options of `add_threshold` ask for; None where they ask for none.

    Raises:
        InputError: a threshold cannot be had from what they name.
    """
    if args.at is not None and args.trials is None:
        raise InputError(f"--at {args.at} chooses a threshold on scored trials: name them with --trials FILE")
    if args.threshold is not None:
        return thresholds.given(args.threshold)
    if args.trials is None:
        return None
    return thresholds.chosen(thresholds.scored_trials(args.trials, norm), args.at or "eer")


def explained(threshold: Threshold | None, without: str) -> dict[str, Any]:
    """Describe the decision for JSON; `without` says what an answer without a threshold means."""
    if threshold is None:
        return {"decided": False, "meaning": without}
    return {"decided": True, "threshold": threshold.value, "meaning": threshold.meaning}


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value
