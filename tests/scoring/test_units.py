"""What an interval resamples: speakers where all are known, else sessions, else recordings."""

import numpy as np
import pandas as pd

from selfsv.scoring.units import units_of

ENROLL, TEST = pd.Series(["b/2", "a/1", "a/1"]), pd.Series(["a/1", "a/2", "c/1"])
NAMES = ["a/1", "a/2", "b/2", "c/1", "d/9"]


def test_speakers_are_resampled_where_all_are_known():
    speakers = pd.DataFrame({"utterance": NAMES, "speaker": ["zoe", "zoe", "adam", "maria", "nobody"]})
    found = units_of(ENROLL, TEST, speakers, pd.DataFrame({"utterance": NAMES, "session": NAMES}))
    assert (found.kind, found.count) == ("speakers", 3)  # the fourth is in no trial
    assert found.enroll.tolist() == [0, 2, 2] and found.test.tolist() == [2, 2, 1]  # by name, so that every list has them alike


def test_one_unknown_speaker_makes_it_sessions():
    speakers = pd.DataFrame({"utterance": NAMES[1:], "speaker": ["zoe", "adam", "maria", "nobody"]})
    found = units_of(ENROLL, TEST, speakers, pd.DataFrame({"utterance": NAMES, "session": ["a", "a", "b", "c", "d"]}))
    assert (found.kind, found.count) == ("sessions", 3)


def test_one_session_makes_it_recordings():
    manifest = pd.DataFrame({"utterance": NAMES, "session": ""})
    for known in (manifest, None):
        found = units_of(ENROLL, TEST, pd.DataFrame({"utterance": [], "speaker": []}), known)
        assert (found.kind, found.count) == ("recordings", 4)
        assert len({*found.enroll, *found.test}) == 4
        np.testing.assert_array_equal(found.enroll[1:], found.test[0])
