"""Copies at other speeds against tones of known pitch, and as a part of a corpus."""

import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import soundfile

from pipeline import listing, pack
from selfsv.artifacts import read_table
from selfsv.data.corpus import PackedCorpus
from selfsv.errors import SettingsError
from selfsv.prepare.decoding import load_utterance
from selfsv.prepare.listing import CorpusFiles
from selfsv.prepare.speed_copies import with_speed_copies
from selfsv.settings.experiment import resolve
from tests.settings.test_jobs import MINIMAL

RATE = 16000


def tone(path, hertz: float = 1000.0, seconds: float = 2.0) -> None:
    time = np.arange(round(seconds * RATE)) / RATE
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * hertz * time), RATE)


@pytest.mark.parametrize("speed", [0.8, 0.9, 1.1, 1.25])
def test_a_copy_is_as_much_higher_as_it_is_shorter(speed, tmp_path):
    tone(tmp_path / "tone.wav")
    samples = load_utterance(str(tmp_path / "tone.wav"), min_seconds=1.0, min_peak=0.001, speed=speed)
    assert len(samples) == pytest.approx(2 * RATE / speed, abs=2)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert spectrum.argmax() * RATE / len(samples) == pytest.approx(1000 * speed, abs=RATE / len(samples))


def test_an_utterance_is_measured_before_it_is_made_faster(tmp_path):
    tone(tmp_path / "tone.wav", seconds=1.05)
    assert len(load_utterance(str(tmp_path / "tone.wav"), min_seconds=1.0, min_peak=0.001, speed=1.25)) == pytest.approx(13440, abs=2)


def test_every_utterance_has_one_copy_and_speeds_take_turns():
    names = [f"id{index // 3}/s/{index}" for index in range(12)]
    utterances = pd.DataFrame(
        {"utterance": names, "path": names, "session": [name.rpartition("/")[0] for name in names], "reason": "", "speed": 1.0}
    )
    speakers = pd.DataFrame({"utterance": names[:6], "speaker": [name.partition("/")[0] for name in names[:6]]})
    found = with_speed_copies(CorpusFiles(utterances, speakers), (0.9, 1.1))
    table = found.utterances.set_index("utterance")
    assert Counter(table["speed"]) == {1.0: 12, 0.9: 6, 1.1: 6}
    assert Counter(table["path"]) == dict.fromkeys(names, 2)
    assert table.index.is_monotonic_increasing and table.index.is_unique
    copy = table.loc["id0/s/0@0.9"]
    assert (copy["path"], copy["session"], copy["speed"]) == ("id0/s/0", "id0/s@0.9", 0.9)
    known = found.speakers.set_index("utterance")["speaker"]
    assert len(known) == 12 and known["id0/s/0@0.9"] == "id0@0.9" and known["id0/s/0"] == "id0"


def test_copies_are_packed_beside_the_recordings(tmp_path, monkeypatch):
    for talker in ("a", "b"):
        (tmp_path / "wav" / talker / "s").mkdir(parents=True)
        for number in range(2):
            tone(tmp_path / "wav" / talker / "s" / f"{number}.wav")
    corpus = f'{{"layout": "voxceleb", "path": "{tmp_path}/wav", "speeds": [0.8, 1.25]}}'
    outputs = [word for name in ("listing", "speakers", "left-out") for word in (f"--{name}", str(tmp_path / f"{name}.parquet"))]
    monkeypatch.setattr(sys, "argv", ["listing", "--settings", corpus, "--shards", "1", *outputs])
    listing.main()
    files = ["--listing", tmp_path / "listing.parquet", "--audio", tmp_path / "audio.pt", "--manifest", tmp_path / "manifest.parquet"]
    monkeypatch.setattr(sys, "argv", ["pack", "--settings", "{}", *map(str, files), "--shard", "0"])
    pack.main()
    manifest = read_table(tmp_path / "manifest.parquet", ["utterance", "num_samples", "status"]).set_index("utterance")
    assert list(manifest.index) == sorted(
        [*(f"{t}/s/{n}" for t in "ab" for n in "01"), "a/s/0@0.8", "a/s/1@1.25", "b/s/0@0.8", "b/s/1@1.25"]
    )
    assert manifest.loc["a/s/0@0.8", "num_samples"] == 40000 and manifest.loc["a/s/1@1.25", "num_samples"] == 25600
    assert len(PackedCorpus(tmp_path / "manifest.parquet", [tmp_path / "audio.pt"])) == 8


def test_copies_are_to_learn_voices_from_alone():
    plain, copied = ({"layout": "folder", "path": "a", **more} for more in ({}, {"speeds": [0.9, 1.1]}))
    trials = {"list": {"corpus": "test", "path": "trials.txt"}}
    assert resolve({**MINIMAL, "corpora": {"train": copied, "test": plain}, "trials": trials}).corpora["train"].speeds == (0.9, 1.1)
    with pytest.raises(SettingsError, match=r"corpora.test.speeds: copies are to learn from"):
        resolve({**MINIMAL, "corpora": {"train": plain, "test": copied}, "trials": trials})
    with pytest.raises(SettingsError, match=r"a faster voice has no face"):
        resolve({**MINIMAL, "modality": "audio_visual", "corpora": {"train": copied}})
