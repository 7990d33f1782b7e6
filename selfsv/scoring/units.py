"""The units that are resampled for the interval of an error rate: speakers where they are known, else sessions, else recordings."""

import numpy as np
import pandas as pd

from selfsv.scoring.intervals import Kind, Units


def units_of(enroll: pd.Series, test: pd.Series, speakers: pd.DataFrame | None, manifest: pd.DataFrame | None) -> Units:
    """The units of N trials.

    Speakers, if the speaker of every utterance is known. Else the sessions of the manifest, if they divide the utterances into
    more than one group; two sessions of one speaker then count as independent. Else each recording for itself, which takes
    all recordings of one speaker for independent: such an interval is too narrow.

    Args:
        enroll: [N] names of the trials' enrolment utterances.
        test: [N] names of their test utterances.
        speakers: columns `utterance`, `speaker` of the trials' corpus, where known; None: not known.
        manifest: columns `utterance`, `session` of the trials' corpus; None: not known.
    """
    codes, names = pd.factorize(pd.concat([enroll, test], ignore_index=True))
    sources: list[tuple[Kind, pd.DataFrame | None, str]] = [("speakers", speakers, "speaker"), ("sessions", manifest, "session")]
    for kind, table, column in sources:
        groups = _groups(names, table, column)
        if groups is not None:
            return _units(kind, codes, groups)
    return _units("recordings", codes, np.arange(len(names)))


def _units(kind: Kind, codes: np.ndarray, groups: np.ndarray) -> Units:
    enroll, test = groups[codes].reshape(2, -1)
    return Units(kind, int(groups.max()) + 1, enroll, test)


def _groups(names: pd.Index, table: pd.DataFrame | None, column: str) -> np.ndarray | None:
    """The number of each name's group, in the order of the groups' names; None where a name has none, or all have the same."""
    if table is None:
        return None
    found = table.drop_duplicates("utterance").set_index("utterance")[column].reindex(names)
    groups, kinds = pd.factorize(found, sort=True)
    return None if (groups < 0).any() or len(kinds) < 2 else groups.astype(np.int64)
