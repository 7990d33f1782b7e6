"""Sounds: which are chosen, and that they are the corpus's waveforms."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
import soundfile

from selfsv.explore.iteration import read_iteration
from selfsv.explore.sounds import chosen, data_uri, embedded, excerpt


def decoded(uri: str) -> tuple[np.ndarray, int]:
    return soundfile.read(io.BytesIO(base64.b64decode(uri.partition(",")[2])), dtype="int16")


@pytest.fixture
def samples(voice) -> np.ndarray:
    return (voice.numpy() * 32767).astype(np.int16)


def test_wav_holds_every_sample(samples):
    uri = data_uri(samples, "wav")
    heard, rate = decoded(uri)
    assert uri.startswith("data:audio/wav;base64,") and rate == 16_000
    np.testing.assert_array_equal(heard, samples)


@pytest.mark.parametrize("seconds", [0.1, 0.31, 0.75, 4.0])
def test_opus_is_the_same_waveform_in_a_tenth_of_the_bytes(samples, seconds):
    loud = excerpt(samples, seconds)
    uri = data_uri(loud, "opus")
    heard, rate = decoded(uri)
    assert uri.startswith("data:audio/ogg;base64,") and rate == 16_000 and len(heard) == len(loud)
    # As soundfile's own encoder, whose defaults take twice the bytes, the correlation is near 1 without any shift.
    assert np.corrcoef(heard, loud)[0, 1] > 0.9
    assert seconds < 4 or len(uri) < len(data_uri(loud, "wav")) / 7


def test_an_excerpt_is_the_loudest_stretch():
    samples = np.random.default_rng(2).normal(0, 2000, 900).astype(np.int16)
    length = 160
    energies = [sum(int(value) ** 2 for value in samples[start : start + length]) for start in range(900 - length + 1)]
    start = int(np.argmax(energies))
    np.testing.assert_array_equal(excerpt(samples, 0.01), samples[start : start + length])
    np.testing.assert_array_equal(excerpt(samples, 1.0), samples)


def test_every_cluster_has_its_nearest_before_any_has_a_second(experiment):
    iteration = read_iteration(experiment)
    lists = [pd.DataFrame({"row": [39, 38, 37]}), None]
    rows = chosen(iteration, lists, per_cluster=3, per_list=2)
    for label in range(4):
        own = np.flatnonzero(iteration.labels == label)
        order = [row for row in rows if row in own]
        assert order[0] == own[np.argmax(iteration.similarity[own])] and {order[0]} <= set(rows[:4])
        assert own[np.argmin(iteration.similarity[own])] in order
    assert {38, 39} <= set(rows[:6]) and len(set(rows)) == len(rows) <= 4 * 3 + 2
    assert chosen(iteration, [None, None], per_cluster=0, per_list=5) == []
    assert set(chosen(iteration, [], per_cluster=99, per_list=0)) == set(range(40))


def test_the_sounds_are_those_of_their_utterances_and_keep_to_the_budget(experiment):
    iteration = read_iteration(experiment)
    everything = embedded(iteration, range(40), 10**9, "wav")
    assert len(everything.uris) == 40 and everything.left_out == 0
    for row, uri in everything.uris.items():
        place = int(np.flatnonzero(iteration.corpus.utterances == iteration.utterances[row])[0])
        np.testing.assert_array_equal(decoded(uri)[0], excerpt(iteration.corpus.samples(place)))
    budget = sum(map(len, everything.uris.values())) // 3
    part = embedded(iteration, range(40), budget, "wav")
    assert sum(map(len, part.uris.values())) <= budget and part.left_out == 40 - len(part.uris) > 0
    assert list(part.uris) == list(range(len(part.uris)))
