"""The labelled part of a corpus, for fine-tuning. No other training may read speaker labels."""

import hashlib
import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from selfsv.artifacts import read_table
from selfsv.data.batches import generator
from selfsv.data.piece_speakers import with_pieces
from selfsv.errors import InputError

log = logging.getLogger(__name__)

DRAW = 2**40 - 2  # in the place of an utterance's number: that of a draw that is about all of them
FEWEST_SPEAKERS = 2


class LabelledPart(NamedTuple):
    """n utterances of a corpus of N, and who speaks in them."""

    drawn: np.ndarray  # [N] bool
    labels: np.ndarray  # [n] int64, numbered by first appearance: what the speakers are called does not matter
    speakers: int

    def fingerprint(self) -> str:
        """Differs where the utterances or the speakers do."""
        return hashlib.sha256(np.packbits(self.drawn).tobytes() + self.labels.tobytes()).hexdigest()


def draw_labelled(path: Path, utterances: np.ndarray, percent: int, seed: int, stage: int) -> LabelledPart:
    """A random part of the utterances whose speaker is known: with one seed, a larger part holds every smaller one.

    Nothing about the labels of the other utterances goes into the result, but that they are known.

    Args:
        path: `speakers.parquet`.
        utterances: [N] of the corpus.
        percent: of those with a known speaker, rounded to whole utterances.

    Raises:
        InputError: there are no speakers, or fewer than two in the part; the message says what to do.
    """
    speakers = known_speakers(path, utterances)
    known = np.flatnonzero(speakers.notna())
    if not len(known):
        raise InputError(
            f"{path} names the speaker of none of the {len(utterances):,} utterances: fine-tuning needs labels. Let finetune.corpus be "
            "a corpus of the layout voxceleb, or a listing with a column 'speaker'"
        )
    if len(known) < len(utterances):
        log.info("%d of %d utterances have no known speaker and are left out", len(utterances) - len(known), len(utterances))
    order = generator(seed, stage, 0, DRAW).permutation(known)
    drawn = np.zeros(len(utterances), dtype=bool)
    drawn[order[: round(percent * len(known) / 100)]] = True
    labels, names = pd.factorize(speakers[drawn])
    if len(names) < FEWEST_SPEAKERS:
        raise InputError(
            f"{percent} % of the {len(known):,} labelled utterances in {path} are {len(labels):,}, of {len(names)} "
            f"speaker{'' if len(names) == 1 else 's'}: two at least are needed. Raise finetune.percent, or label more"
        )
    log.info("learning from %d of %d labelled utterances, of %d speakers", len(labels), len(known), len(names))
    return LabelledPart(drawn, labels.astype(np.int64), len(names))


def known_speakers(path: Path, utterances: np.ndarray) -> pd.Series:
    """[N] the speaker of each of `utterances`, missing where it is not known.

    Raises:
        InputError: the file is missing or damaged, or names an utterance twice.
    """
    table = read_table(path, ["utterance", "speaker"])
    twice = table["utterance"].duplicated()
    if twice.any():
        raise InputError(f"{path} names the speaker of '{table['utterance'][twice].iloc[0]}' twice: list the corpus again")
    return with_pieces(table, utterances).set_index("utterance")["speaker"].reindex(utterances)
