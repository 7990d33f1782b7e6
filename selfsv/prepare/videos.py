"""Which video shows the talker of which utterance."""

import os
from pathlib import PurePath

import pandas as pd

from selfsv.errors import InputError
from selfsv.extensions import VIDEO_EXTENSIONS
from selfsv.prepare.listing import enumerate_corpus, listing_table
from selfsv.settings.data import Corpus

MISSING = "missing: no video of this utterance"
NO_VIDEO = "no video: a recording of sound alone"


def find_videos(corpus: Corpus, listing: pd.DataFrame) -> pd.DataFrame:
    """The video of every utterance.

    Videos are those of the folder `corpus.video`, named like the utterances; or named in the column `video` of the user's
    listing; or, without either, the files of the corpus themselves.

    Args:
        listing: columns `utterance`, `path`, `reason` of the corpus's files.

    Returns:
        Columns `utterance`, `path` (of the video, or '') and `reason` (why there is none, else ''), in the listing's order.

    Raises:
        InputError: no utterance at all has a video; the message names the key to set.
    """
    paths = _named_like(corpus, listing) if corpus.video else _in_listing(corpus, listing)
    if paths is None:
        paths = listing["path"].where(listing["path"].str.lower().str.endswith(VIDEO_EXTENSIONS), "")
    reasons = listing["reason"].where(paths != "", MISSING if corpus.video else NO_VIDEO)
    if (paths == "").all():
        raise InputError(f"no utterance of the corpus in {corpus.path} has a video: set `video` of this corpus to the videos' folder")
    return pd.DataFrame({"utterance": listing["utterance"], "path": paths, "reason": reasons})


def _named_like(corpus: Corpus, listing: pd.DataFrame) -> pd.Series:
    layout = "folder" if corpus.layout == "listing" else corpus.layout
    videos = enumerate_corpus(Corpus(layout=layout, path=corpus.video or []), VIDEO_EXTENSIONS).utterances
    return listing["utterance"].map(videos.set_index("utterance")["path"]).fillna("").astype(str)


def _in_listing(corpus: Corpus, listing: pd.DataFrame) -> pd.Series | None:
    """From the column `video` of the user's listings; None where there is none. Paths are relative to the listing, as the audio's are."""
    if corpus.layout != "listing":
        return None
    found: dict[str, str] = {}
    for source in [corpus.path] if isinstance(corpus.path, str) else corpus.path:
        table = listing_table(source)
        if "video" in table.columns:
            folder = PurePath(source).parent
            pairs = zip(table["path"].astype(str), table["video"].fillna("").astype(str), strict=True)
            found |= {os.path.join(folder, path): os.path.join(folder, video) for path, video in pairs if video}
    return listing["path"].map(found).fillna("").astype(str) if found else None
