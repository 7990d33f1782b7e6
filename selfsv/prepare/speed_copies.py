"""Copies of recordings at other speeds, which sound like other voices: more talkers for a corpus that has few (Yamamoto et al., 2019)."""

import pandas as pd

from selfsv.prepare.listing import CorpusFiles


def with_speed_copies(files: CorpusFiles, speeds: tuple[float, ...]) -> CorpusFiles:
    """The corpus with one copy of each utterance at one of `speeds`, in turn.

    A copy is a voice of its own: its utterance, session and speaker are those of the original with the speed behind. No two copies share
    an utterance, so that what is said in it tells no more of them than of others.

    Args:
        speeds: factors, above 1 faster and higher; none: no copies.
    """
    if not speeds:
        return files
    originals = files.utterances
    copies = originals.assign(speed=[speeds[index % len(speeds)] for index in range(len(originals))])
    endings = pd.Series([ending(speed) for speed in copies["speed"]], index=copies.index, dtype=copies["utterance"].dtype)
    behind = dict(zip(copies["utterance"], endings, strict=True))
    copies = copies.assign(utterance=copies["utterance"] + endings, session=copies["session"] + endings)
    names = files.speakers["utterance"].map(behind).astype(files.speakers["utterance"].dtype)
    speakers = files.speakers.assign(utterance=files.speakers["utterance"] + names, speaker=files.speakers["speaker"] + names)
    return CorpusFiles(_sorted(originals, copies), _sorted(files.speakers, speakers), files.left_out)


def ending(speed: float) -> str:
    """What a copy at `speed` has behind its names."""
    return f"@{speed:g}"


def _sorted(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([one, other]).sort_values("utterance", ignore_index=True)
