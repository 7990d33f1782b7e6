"""Trial lists in VoxCeleb's format: one trial a line, `1 enrolment test` (1 = same speaker, 0 = different speakers).

The three are separated by spaces, or by two tabs where names have spaces.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from selfsv.errors import InputError, printable
from selfsv.extensions import without_extension

LONGEST_LINE = 1 << 16  # characters; names are paths, and paths are shorter
FORMAT = "a trial is '1 enrolment test' or '0 enrolment test', with two tabs between them where names have spaces"
# Labels of other tools, Kaldi's first.
LABELS = {"target": "1", "nontarget": "0", "1": "1", "0": "0", "tgt": "1", "imp": "0", "true": "1", "false": "0"}
SHOWN = 60  # characters of a name in a message


@dataclass(frozen=True)
class Trials:
    """N trials as in a list; names may carry an audio file's extension."""

    source: Path
    line: np.ndarray  # [N] int64, from 1
    target: np.ndarray  # [N] bool
    enroll: list[str]
    test: list[str]


def read_trials(path: Path) -> Trials:
    """The trials in the file at `path`; blank lines are skipped.

    Raises:
        InputError: the file is missing, is no text, has no trials, or a line is malformed (the message gives its number).
    """
    lines, targets, enroll, test = [], [], [], []
    try:
        with open(path, encoding="utf-8-sig") as file:  # some editors begin a file with a mark that no editor shows
            for number, line in enumerate(iter(partial(file.readline, LONGEST_LINE + 1), ""), start=1):
                if len(line) > LONGEST_LINE:
                    raise InputError(f"{path}, line {number}: more than {LONGEST_LINE} characters: {FORMAT}")
                if fields := _fields(line):
                    target, first, second = _trial(path, number, fields)
                    lines.append(number)
                    targets.append(target)
                    enroll.append(first)
                    test.append(second)
    except FileNotFoundError:
        raise InputError(f"the trial list {path} does not exist: correct its `path` under `trials` in the configuration") from None
    except UnicodeDecodeError:
        raise InputError(f"the trial list {path} is not a text file: {FORMAT}") from None
    if not lines:
        raise InputError(f"the trial list {path} holds no trials: {FORMAT}")
    return Trials(path, np.array(lines), np.array(targets), enroll, test)


def locate(trials: Trials, utterances: np.ndarray, rejected: Mapping[str, str] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The positions of the trials' two sides in `utterances`.

    A name counts as it is, or else without its audio extension: VoxCeleb's `id10270/x6uYqmx31kE/00001.wav` is the
    utterance `id10270/x6uYqmx31kE/00001`.

    Args:
        utterances: [U] names of the utterances that have an embedding.
        rejected: reasons, by utterance, of what was left out of the corpus; they go into the message.

    Returns:
        Enrolment and test positions, [N] int64 each.

    Raises:
        InputError: utterances are missing; names the first trial concerned and says how many more there are.
    """
    position = {name: index for index, name in enumerate(utterances)}
    found = {name: position.get(name, position.get(utterance_of(name), -1)) for name in {*trials.enroll, *trials.test}}
    enroll = np.fromiter((found[name] for name in trials.enroll), np.int64, len(trials.enroll))
    test = np.fromiter((found[name] for name in trials.test), np.int64, len(trials.test))
    incomplete = np.flatnonzero((enroll < 0) | (test < 0))
    if len(incomplete):
        missing = sum(index < 0 for index in found.values())
        raise InputError(_missing(trials, incomplete, found, missing, utterances, rejected or {}))
    return enroll, test


def utterance_of(name: str) -> str:
    """`name` without an audio file's extension; other text after a dot belongs to the name."""
    return without_extension(name)


def _fields(line: str) -> list[str]:
    if not line.strip():
        return []
    at_tabs = [field.strip() for field in line.strip("\r\n").split("\t")]
    return at_tabs if len(at_tabs) == 3 and all(at_tabs) else line.split()


def _trial(path: Path, number: int, fields: list[str]) -> tuple[bool, str, str]:
    where = f"{path}, line {number}"
    if len(fields) != 3:
        raise InputError(f"{where}: {len(fields)} words instead of 3: {FORMAT}")
    label, enroll, test = fields
    if label not in ("0", "1"):
        raise InputError(f"{where}: the label is {label[:20]!r} instead of 0 or 1: {FORMAT}{_advice(fields)}")
    return label == "1", enroll, test


def _advice(fields: list[str]) -> str:
    """The line that would do, where a label of another tool is first or, as in Kaldi's lists, last."""
    *names, last = fields
    if last.lower() not in LABELS:
        last, *names = fields
        if last.lower() not in LABELS:
            return ""
    right = " ".join([LABELS[last.lower()], *(printable(name)[:SHOWN] for name in names)])
    return f". Write this line as '{right}', and all others likewise"


def _missing(
    trials: Trials,
    incomplete: np.ndarray,
    found: Mapping[str, int],
    missing: int,
    utterances: np.ndarray,
    rejected: Mapping[str, str],
) -> str:
    first = incomplete[0]
    name = next(side for side in (trials.enroll[first], trials.test[first]) if found[side] < 0)
    more = f" (and {missing - 1:,} more; {len(incomplete):,} of {len(trials.line):,} trials are concerned)" if missing > 1 else ""
    start = f"{trials.source}, line {trials.line[first]}: utterance '{name}' has no embedding{more}"
    reason = rejected.get(name, rejected.get(utterance_of(name)))
    if reason is not None:
        return f"{start}. It was rejected from the corpus: {reason}. Repair its file, or take its trials out of the list"
    known = f" Utterances of the corpus are named like '{utterances[0]}'." if len(utterances) else ""
    return (
        f"{start}. It is not in the corpus.{known} Give the list the corpus it belongs to (`trials.<name>.corpus`), "
        "add the missing audio to that corpus, or take these trials out of the list"
    )
