"""score a trial list: EER and minDCF, and a file of scores

    selfsv score trials.txt --model results/demo --audio recordings/ --output scores.parquet
    selfsv score trials.txt --model results/demo --embeddings voices.parquet

A trial is a line `1 enrolment test` (1: the same speaker, 0: not), its names paths below the folder of --audio, or utterances in
the file of --embeddings. s-norm is left out where the model came without its cohort.

The ending of --output chooses its format: .parquet or .csv for a row `enroll, test, target, cosine, snorm` per trial; .txt for lines
`enrolment test score`, as other tools read them, with the names of the list and the scores of --norm (cosine, where that is `both`).
"""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from selfsv.artifacts import read_arrow, read_embeddings, write_table, write_text
from selfsv.cli.embedding import embedded
from selfsv.cli.options import add_json, add_model, add_vad, detector_from, model_from
from selfsv.cli.outputs import PARQUET, format_of
from selfsv.cli.status import DONE
from selfsv.errors import InputError, printable
from selfsv.extensions import AUDIO_EXTENSIONS
from selfsv.inference.gallery import FINGERPRINT
from selfsv.inference.recordings import Recording
from selfsv.inference.speaker_model import SpeakerModel
from selfsv.prepare.speech_detection import SpeechDetector
from selfsv.scoring.cosine import cosine_scores
from selfsv.scoring.snorm import normalised_scores
from selfsv.scoring.trial_checks import oddities, one_kind
from selfsv.scoring.trials import Trials, locate, read_trials, utterance_of

NORMS = {"cosine": "cosine", "snorm": "s-norm"}
FORMATS = PARQUET | {".csv": "CSV", ".txt": "lines of `enrolment test score`"}
LOG = logging.getLogger("selfsv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("trials", type=Path, metavar="TRIALS", help="lines of `1 enrolment test`")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--audio", type=Path, metavar="DIR", help="the folder that the trials' names are below")
    source.add_argument("--embeddings", type=Path, metavar="FILE", help="made by `selfsv embed`, or by the workflow with this model")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the scores, in the format of its ending: .parquet, .csv or .txt")
    parser.add_argument("--norm", choices=["cosine", "snorm", "both"], default="both")
    parser.add_argument("--p-target", type=float, default=0.01, metavar="P", help="prior of a target trial for minDCF (default: 0.01)")
    add_model(parser)
    add_vad(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Embed what the trials name, score, measure."""
    if args.vad and args.embeddings:
        raise InputError("--vad is for --audio: what --embeddings names is embedded already")
    written = None if args.output is None else format_of(args.output, FORMATS)
    trials = read_trials(args.trials)
    _say_what_is_odd(trials, args.output)
    model, detector = model_from(args), detector_from(args)
    norms = ["cosine"] if args.norm == "cosine" or (args.norm == "both" and model.background_of is None) else list(NORMS)
    if args.embeddings:
        utterances, embeddings, rejected = _read(args.embeddings, model)
    else:
        utterances, embeddings, rejected = embedded_trials(model, trials, args.audio, args.threads, detector)
    enroll, test = locate(trials, utterances, rejected)
    scores = scored(model, embeddings, enroll, test, norms)
    wanted = [args.norm] if args.norm != "both" else norms
    if written == ".txt":
        _write_text(args.output, trials, scores[wanted[0]])
        if len(wanted) > 1:
            LOG.warning(
                "selfsv: %s holds the scores of --norm %s; name another --norm for the others", printable(str(args.output)), wanted[0]
            )
    elif written is not None:
        table = pd.DataFrame({"enroll": utterances[enroll], "test": utterances[test], "target": trials.target, **scores})
        _write_csv(args.output, table) if written == ".csv" else write_table(args.output, table)
    rated = one_kind(trials) is None
    figures = {norm: _error_rates(scores[norm], trials.target, args.p_target) if rated else None for norm in wanted}
    counts = {"targets": int(trials.target.sum()), "nontargets": int((~trials.target).sum())}
    print(json.dumps({"trials": str(args.trials), **counts, **figures}) if args.json else _text(counts, figures))
    return DONE


def _say_what_is_odd(trials: Trials, output: Path | None) -> None:
    """Warn of what the list's error rates will suffer from, before the embedding, which may take hours.

    Raises:
        InputError: there can be no error rates, and no scores are to be written either.
    """
    for oddity in oddities(trials):
        LOG.warning("selfsv: %s", printable(oddity))
    if kind := one_kind(trials):
        problem = f"{trials.source}: all {len(trials.target):,} trials are {kind} trials: error rates need both kinds"
        if output is None:
            raise InputError(f"{problem}, so complete the list, or write the scores alone with --output FILE")
        LOG.warning("selfsv: %s; scores alone are written", printable(problem))


def _write_text(path: Path, trials: Trials, scores: np.ndarray) -> None:
    separator = " " if all(name.split() == [name] for name in (*trials.enroll, *trials.test)) else "\t"
    rows = zip(trials.enroll, trials.test, scores, strict=True)
    write_text(path, "".join(f"{enroll}{separator}{test}{separator}{score:.6f}\n" for enroll, test, score in rows))


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.assign(target=table["target"].astype(int)).to_csv(index=False, lineterminator="\n"))


def scored(model: SpeakerModel, embeddings: np.ndarray, enroll: np.ndarray, test: np.ndarray, norms: list[str]) -> dict[str, np.ndarray]:
    """Scores [N] float32 of trials, by norm.

    Args:
        embeddings: [U, D].
        enroll: [N] positions in `embeddings`.
        test: [N] positions in `embeddings`.
    """
    directions = model.directions(embeddings)
    cosine = cosine_scores(directions, enroll, test)
    if "snorm" not in norms:
        return {"cosine": cosine}
    return {"cosine": cosine, "snorm": normalised_scores(cosine, enroll, test, *model.statistics(directions))}


def _read(path: Path, model: SpeakerModel) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    owner = (read_arrow(path, []).schema.metadata or {}).get(FINGERPRINT)
    if owner is not None and owner.decode() != model.fingerprint:
        raise InputError(f"the embeddings in {path} are another model's ({owner.decode()}, not {model.fingerprint}): embed again")
    return *read_embeddings(path), {}


def embedded_trials(
    model: SpeakerModel, trials: Trials, audio: Path, threads: int, detector: SpeechDetector | None = None
) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    """Embed the recordings of trials: names [U], embeddings [U, D], and why a recording cannot be used, by its name.

    Args:
        audio: the folder that the names are below.
        detector: of the speech that is embedded; None: recordings are embedded whole.
    """
    names = sorted({*trials.enroll, *trials.test})
    voices = embedded(model, [_recording(audio, name) for name in names], threads, detector)
    rejected = {recording.name: reason for recording, reason in voices.rejected}
    return np.array([recording.name for recording in voices.recordings], dtype=object), voices.embeddings, rejected


def _recording(folder: Path, name: str) -> Recording:
    """The file below `folder` that a trial calls `name`: with that extension, with none, or another (lists are older than copies)."""
    path = folder / name
    if not path.is_file():
        others = (folder / f"{stem}{extension}" for stem in (name, utterance_of(name)) for extension in AUDIO_EXTENSIONS)
        path = next(filter(Path.is_file, others), path)
    return Recording(name, str(path), str(path))


def cosine_rates(
    model: SpeakerModel, trials: Trials, utterances: np.ndarray, embeddings: np.ndarray, rejected: dict[str, str], p_target: float
) -> dict[str, float]:
    """Error rates of trials by cosine.

    Args:
        utterances, embeddings, rejected: as of `embedded_trials`.
    """
    enroll, test = locate(trials, utterances, rejected)
    return _error_rates(scored(model, embeddings, enroll, test, ["cosine"])["cosine"], trials.target, p_target)


def _error_rates(scores: np.ndarray, target: np.ndarray, p_target: float) -> dict[str, float]:
    from selfsv.scoring.error_rates import equal_error_rate, min_dcf, operating_points  # scikit-learn takes a second to load

    miss, false_alarm = operating_points(scores, target)
    return {"eer": equal_error_rate(miss, false_alarm), "min_dcf": min_dcf(miss, false_alarm, p_target)}


def _text(counts: dict[str, int], figures: dict[str, dict[str, Any] | None]) -> str:
    head = f"{counts['targets']:,} target and {counts['nontargets']:,} non-target trials"
    lines = [f"{NORMS[norm]:8} EER {100 * rates['eer']:6.2f} %   minDCF {rates['min_dcf']:.3f}" for norm, rates in figures.items() if rates]
    return "\n".join([head, *lines])
