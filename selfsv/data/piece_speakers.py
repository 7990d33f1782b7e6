"""The speakers of utterances that were cut from recordings. Apart from their names, so that no stage of a training knows of labels."""

from collections.abc import Iterable

import pandas as pd

from selfsv.cut_names import recording_of


def with_pieces(speakers: pd.DataFrame, utterances: Iterable[str]) -> pd.DataFrame:
    """`speakers` (`utterance`, `speaker`), and a row for each of `utterances` that is a piece of one of its recordings.

    `speakers.parquet` is written with the listing, before any recording is cut: it names recordings. Were it written with the
    manifest, changed labels would pack the corpus again, and train all that follows from it.
    """
    if not len(speakers):
        return speakers
    known = speakers.drop_duplicates("utterance").set_index("utterance")["speaker"]
    names = pd.Index(utterances)
    others = names[~names.isin(known.index)]
    found = known.reindex([recording_of(name) for name in others]).to_numpy(object)
    pieces = pd.DataFrame({"utterance": others, "speaker": found}).dropna()
    return pd.concat([speakers, pieces.astype(speakers.dtypes[["utterance", "speaker"]])], ignore_index=True) if len(pieces) else speakers
