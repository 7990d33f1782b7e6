"""Which utterances can be played in the page, and their sound as data URIs, within a budget of bytes."""

import base64
import io
from collections.abc import Iterable
from itertools import chain, zip_longest
from typing import Literal, NamedTuple

import av
import numpy as np
import pandas as pd
import soundfile

from selfsv.data.features import SAMPLE_RATE
from selfsv.explore.iteration import Iteration

Codec = Literal["opus", "wav"]
LONGEST = 4.0  # seconds
KEY = 16  # bytes at most that a sound takes in the page beside its data URI
BIT_RATE = 24_000  # of Opus: what it takes for wideband speech (RFC 6716, 2.1.1)
EFFORT = {"compression_level": "3"}  # of Opus's encoder, 0 … 10
# Short pages (microseconds), as libsndfile refuses files of one page that ends within a frame; no random serial number.
OGG = {"page_duration": "100000", "fflags": "+bitexact"}


class Sounds(NamedTuple):
    """Sounds that can be played."""

    uris: dict[int, str]  # row of the iteration to data URI
    left_out: int  # chosen utterances for which the budget had no room


def chosen(iteration: Iteration, lists: Iterable[pd.DataFrame | None], per_cluster: int, per_list: int) -> list[int]:
    """Rows of the utterances to play, the most useful first, each once: a budget that ends early leaves every cluster its first.

    Args:
        lists: tables with a column `row`, whose first `per_list` rows are chosen.
    """
    of_clusters = [spread(rows, iteration.similarity, per_cluster) for rows in members(iteration.labels)]
    of_lists = [table["row"].tolist()[:per_list] for table in lists if table is not None]
    first, *further = turns(of_clusters) or [[]]
    return list(dict.fromkeys(chain(first, *turns(of_lists), *further)))


def turns(queues: list[list[int]]) -> list[list[int]]:
    """The first of all queues, the second of all queues, and so on."""
    return [[row for row in turn if row is not None] for turn in zip_longest(*queues)]


def members(labels: np.ndarray) -> list[np.ndarray]:
    """The rows of each cluster, largest cluster first."""
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return sorted(groups, key=len, reverse=True)


def spread(rows: np.ndarray, similarity: np.ndarray, count: int) -> list[int]:
    """At most `count` of a cluster's rows: the nearest to the centroid, the farthest, then evenly between by rank."""
    ranked = rows[np.argsort(-similarity[rows], kind="stable")]
    places = np.unique(np.linspace(0, len(ranked) - 1, count).round().astype(int)) if count else np.array([], int)
    return ranked[np.concatenate([places[:1], places[:0:-1]])].tolist()


def embedded(iteration: Iteration, rows: Iterable[int], budget: int, codec: Codec) -> Sounds:
    """Encode the sounds of `rows` until `budget` (bytes of the page) is used up."""
    places = {name: place for place, name in enumerate(iteration.corpus.utterances)}
    uris: dict[int, str] = {}
    left_out = 0
    for row in rows:
        uri = "" if left_out else data_uri(excerpt(iteration.corpus.samples(places[iteration.utterances[row]])), codec)
        budget -= len(uri) + KEY
        if left_out or budget < 0:
            left_out += 1
        else:
            uris[row] = uri
    return Sounds(uris, left_out)


def excerpt(samples: np.ndarray, seconds: float = LONGEST) -> np.ndarray:
    """The loudest stretch of `samples` [n] int16 of at most `seconds`: the first with the greatest energy."""
    length = int(seconds * SAMPLE_RATE)
    if len(samples) <= length:
        return samples
    energy = np.concatenate([[0], np.cumsum(samples.astype(np.int64) ** 2)])
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return samples[start : start + length]


def data_uri(samples: np.ndarray, codec: Codec) -> str:
    """`samples` [n] int16 at 16 kHz as a data URI: Ogg Opus (some 3 kB a second), or WAV for browsers without it (32 kB)."""
    content, kind = (opus(samples), "audio/ogg") if codec == "opus" else (wav(samples), "audio/wav")
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def opus(samples: np.ndarray) -> bytes:
    """`samples` [n] int16 as Ogg Opus. PyAV, as soundfile cannot lower the encoder's effort: it takes 13 times as long."""
    file = io.BytesIO()
    with av.open(file, "w", format="ogg", options=OGG) as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono", bit_rate=BIT_RATE, options=EFFORT)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


def wav(samples: np.ndarray) -> bytes:
    """`samples` [n] int16 as WAV."""
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()
