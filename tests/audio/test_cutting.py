"""Long recordings of real voices, cut at silences: where the cuts are, and what becomes of the pieces in a corpus."""

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy import ndimage

from pipeline import check_corpus, check_trials, listing, manifest, pack, quality
from selfsv.artifacts import read_table, write_table
from selfsv.cut_names import piece_name, recording_of
from selfsv.data.corpus import PackedCorpus
from selfsv.data.labelled import known_speakers
from selfsv.data.piece_speakers import with_pieces
from selfsv.errors import InputError, SettingsError
from selfsv.prepare import packing
from selfsv.prepare.cutting import MARGIN, STEP, quietest_cuts, spans
from selfsv.scoring.scored_lists import known_about
from selfsv.settings.data import CutSettings
from selfsv.settings.experiment import resolve
from selfsv.settings.jobs import CorpusCheck, PackJob
from tests.conftest import SPEECH
from tests.settings.test_settings import MINIMAL
from workflow.adaptive import Derived
from workflow.files import Files

RATE = 16000
TALKERS = ("festvox_ru_nsh", "asterisk_allison", "klettres_it")
DEFAULT = CutSettings()


@cache
def clips(talker: str, number: int) -> tuple[np.ndarray, ...]:
    """The first recordings of a talker of the demo, [num_samples] int16 each."""
    files = sorted((SPEECH / "dev" / "wav" / talker).rglob("*.opus"))[:number]
    return tuple(soundfile.read(path, dtype="int16")[0] for path in files)


def talk(talker: str, seconds: float) -> np.ndarray:
    """A recording of one talker, at least so long."""
    pieces = clips(talker, 30)
    once = np.concatenate(pieces)
    return np.tile(once, -(-round(seconds * RATE) // len(once)))[: round(seconds * RATE)]


def silence(seconds: float, level: float = 2.0) -> np.ndarray:
    return np.random.default_rng(3).normal(0, level, round(seconds * RATE)).astype(np.int16)


def covered(found: list, length: int) -> np.ndarray:
    """[length] bool: which samples are in a piece."""
    inside = np.zeros(length, bool)
    for start, end in found:
        assert not inside[start:end].any(), "pieces overlap"
        inside[start:end] = True
    return inside


# Where the cuts are ---------------------------------------------------------------------------------------------------


def test_boundaries_fall_into_the_pauses_between_sentences():
    """Sentences over steady noise have no silence of their own, so that every pause is known."""
    generator = np.random.default_rng(1)
    parts, spoken, position = [], [], 0
    for clip in clips("festvox_ru_nsh", 25):
        sentence = (clip[: 7 * RATE] // 2 + generator.normal(0, 600, min(len(clip), 7 * RATE))).astype(np.int16)
        assert len(sentence) > DEFAULT.shortest_seconds * RATE
        pause = silence(generator.uniform(0.4, 1.5))
        parts += [sentence, pause]
        spoken.append((position, position + len(sentence)))
        position += len(sentence) + len(pause)
    recording = np.concatenate(parts)
    found = spans(recording, DEFAULT)
    assert len(found) >= len(recording) / RATE / DEFAULT.longest_seconds
    inside = covered(found, len(recording))
    assert all(inside[start:end].all() for start, end in spoken), "a piece of a sentence is missing"
    for boundary in {place for span in found for place in span} - {0}:
        assert not any(start < boundary < end for start, end in spoken), f"{boundary / RATE} s is within a sentence"


@pytest.mark.parametrize("talker", TALKERS)
@pytest.mark.parametrize("settings", [DEFAULT, CutSettings(longest_seconds=5, shortest_seconds=2), CutSettings(silence_db=20)])
def test_pieces_cover_the_speech_and_are_as_long_as_asked(talker, settings):
    recording = talk(talker, 117.31)
    found = spans(recording, settings)
    inside = covered(found, len(recording))
    assert found == sorted(found) and len(found) >= 117 / settings.longest_seconds / 2
    for start, end in found:
        assert settings.shortest_seconds <= (end - start) / RATE <= settings.longest_seconds
        assert start % STEP == 0
    # What is loud, by a plain loop over the frames.
    frames = [recording[start : start + 400].astype(float) for start in range(0, len(recording) - 399, 400)]
    levels = np.array([np.mean((frame - frame.mean()) ** 2) for frame in frames])
    loud = levels > np.sort(levels)[round(0.95 * (len(levels) - 1))] / 10 ** (settings.silence_db / 10) * 1.01
    assert all(inside[400 * index : 400 * (index + 1)].all() for index in np.flatnonzero(loud))


def test_cuts_are_where_the_energy_is_least_of_all_ways_to_cut():
    """Against every way there is, by recursion."""
    generator = np.random.default_rng(0)

    def ways(steps: int, shortest: int, longest: int) -> list[list[int]]:
        last = [[]] if shortest <= steps <= longest else []
        return last + [
            [first, *(first + cut for cut in rest)]
            for first in range(shortest, min(longest, steps) + 1)
            for rest in ways(steps - first, shortest, longest)
        ]

    for steps, shortest, longest in [(7, 2, 4), (16, 2, 5), (20, 3, 7), (23, 4, 10), (11, 3, 11)]:
        for penalty in (0.0, 0.3):
            quiet = generator.random(steps)
            found = quietest_cuts(quiet, steps, shortest, longest, penalty)
            best = min(ways(steps, shortest, longest), key=lambda cuts: sum(quiet[cuts]) + penalty * len(cuts))
            assert found == best


def test_long_silence_is_left_out_at_the_ends_and_within():
    """Each of four parts of speech keeps its margins, no more."""
    parts = [talk("festvox_ru_nsh", 12.0)] * 4
    gap = silence(25.0)
    recording = np.concatenate([gap, *(piece for part in parts for piece in (part, gap))])
    found = spans(recording, DEFAULT)
    assert found[0].start > 24 * RATE and found[-1].end < len(recording) - 24 * RATE
    kept = sum(span.length for span in found) / RATE
    assert 4 * 11 < kept < 4 * (12 + 3 * (MARGIN + STEP) / RATE) + 4 * DEFAULT.shortest_seconds
    loud = ndimage.uniform_filter1d(np.abs(recording.astype(float)), 400)
    assert all(loud[span.start : span.end].max() > 500 for span in found), "a piece has no speech"


def test_a_word_in_a_long_silence_is_one_piece_of_the_shortest_length():
    word = clips("festvox_ru_nsh", 1)[0][RATE : 5 * RATE // 2]
    for before, after in ((8.0, 8.0), (0.0, 16.0), (16.0, 0.1)):
        recording = np.concatenate([silence(before), word, silence(after)])
        (found,) = spans(recording, DEFAULT)
        assert found.start <= len(silence(before)) and found.end >= min(len(recording), len(silence(before)) + len(word) * 3 // 4)
        assert DEFAULT.shortest_seconds * RATE <= found.length < DEFAULT.shortest_seconds * RATE + 2 * STEP


@pytest.mark.parametrize("seconds", [10.0, 10.01, 10.04, 10.5, 20.0, 20.049])
def test_any_length_can_be_cut(seconds):
    """Even where nothing is silent, and the longest piece is only just twice and a half the shortest."""
    noise = np.random.default_rng(0).normal(0, 3000, round(seconds * RATE)).astype(np.int16)
    for settings in (CutSettings(longest_seconds=10, shortest_seconds=4), CutSettings(longest_seconds=2.5, shortest_seconds=1)):
        found = spans(noise, settings)
        assert covered(found, len(noise)).all()
        assert all(settings.shortest_seconds * RATE <= span.length <= settings.longest_seconds * RATE for span in found)
    assert spans(noise, CutSettings(longest_seconds=seconds)) == [(0, len(noise))]


def test_neither_level_nor_offset_moves_a_cut():
    recording = talk("asterisk_allison", 60.0) // 8
    assert spans(recording, DEFAULT) == spans(4 * recording, DEFAULT) == spans(recording + np.int16(5000), DEFAULT)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"longest_seconds": 7.0}, r"Raise it to 7\.5 at least"),
        ({"shortest_seconds": 0.5}, "greater than or equal to 1"),
        ({"silence_db": 0}, "silence_db"),
        ({"longest": 7}, "unknown config key"),
    ],
)
def test_lengths_that_no_cuts_can_make_are_refused(keys, message):
    with pytest.raises(SettingsError, match=message):
        resolve({**MINIMAL, "corpora": {"train": {"layout": "folder", "path": "a", "cut": keys}}})


def test_what_cannot_be_cut_is_refused_with_the_settings():
    corpora = {"train": {"layout": "folder", "path": "a", "cut": {}}}
    assert PackJob.of(resolve({**MINIMAL, "corpora": corpora}), "train").cut == DEFAULT
    with pytest.raises(SettingsError, match=r"corpora\.train\.cut is for modality: audio"):
        resolve({**MINIMAL, "modality": "audio_visual", "corpora": corpora})
    with pytest.raises(SettingsError, match=r"cut\.shortest_seconds is below pack\.min_seconds, 4"):
        resolve({**MINIMAL, "pack": {"min_seconds": 4.0}, "corpora": corpora})


# In a corpus ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Calls a script's `main` as the command line would."""

    def call(script: object, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
        script.main()  # type: ignore[attr-defined]

    return call


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Two talks, a short file, and one that is no audio; a folder for each talker."""
    folder = tmp_path / "wav"
    for name, samples in {
        "ann/day/talk": talk("asterisk_allison", 65.0),
        "nik/day/lecture": np.concatenate([silence(3.0), talk("festvox_ru_nsh", 90.0), silence(4.0)]),
        "nik/day/short": talk("festvox_ru_nsh", 6.0),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{name}.wav", samples, RATE, subtype="PCM_16")
    (folder / "nik/day/text.wav").write_text("hello")
    return folder


def packed(
    stage: Callable[..., None], corpus: Path, folder: Path, shards: int = 2, threads: int = 1, max_rejected: float = 0.3, speeds: str = "[]"
) -> Path:
    """The manifest's path, of stages that were given default settings of `cut`."""
    settings = f'{{"layout": "voxceleb", "path": "{corpus}", "speeds": {speeds}}}'
    outputs = [word for name in ("listing", "speakers", "left-out") for word in (f"--{name}", folder / f"{name}.parquet")]
    stage(listing, "--settings", settings, "--shards", shards, *outputs)
    for shard in range(shards):
        files = ("--audio", folder / f"audio-{shard}.pt", "--manifest", folder / f"manifest-{shard}.parquet")
        stage(pack, "--settings", '{"cut": {}}', "--listing", folder / "listing.parquet", "--shard", shard, "--threads", threads, *files)
    parts = [folder / f"manifest-{shard}.parquet" for shard in range(shards)]
    settings = f'{{"max_rejected": {max_rejected}}}'
    stage(manifest, "--settings", settings, "--manifest", folder / "manifest.parquet", "--shards", *parts)
    return folder / "manifest.parquet"


def test_the_manifest_has_a_row_for_each_piece(stage, recordings, tmp_path):
    path = packed(stage, recordings, tmp_path / "out")
    table = read_table(path).set_index("utterance")
    assert table.index.is_unique and table.index.is_monotonic_increasing
    assert table.loc["nik/day/text", "status"] == "rejected"
    short = table.loc["nik/day/short"]
    assert (short["session"], short["num_samples"]) == ("nik/day", 6 * RATE)
    pieces = table[table.index.str.contains("@")]
    assert set(pieces["session"]) == {"ann/day/talk", "nik/day/lecture"} and len(pieces) >= 16
    assert (pieces.index.str.rpartition("@").get_level_values(0) == pieces["session"]).all()
    corpus = PackedCorpus(path, [tmp_path / f"out/audio-{shard}.pt" for shard in range(2)])
    assert list(corpus.utterances) == list(table.index[table["status"] == "ok"])
    for index, name in enumerate(corpus.utterances):
        original, _ = soundfile.read(table.loc[name, "path"], dtype="int16")
        start = round(float(name.rpartition("@")[2]) * RATE) if "@" in name else 0
        np.testing.assert_array_equal(corpus.samples(index), original[start : start + table.loc[name, "num_samples"]])


def test_a_recording_is_decoded_once_and_threads_change_nothing(stage, recordings, tmp_path, monkeypatch):
    decoded: list[str] = []
    load = packing.load_utterance
    monkeypatch.setattr(packing, "load_utterance", lambda path, **options: decoded.append(path) or load(path, **options))
    one = packed(stage, recordings, tmp_path / "one", shards=1)
    assert sorted(decoded) == sorted(set(decoded)) and len(decoded) == 4
    four = packed(stage, recordings, tmp_path / "four", shards=1, threads=4)
    pd.testing.assert_frame_equal(read_table(one), read_table(four))
    assert (tmp_path / "one/audio-0.pt").read_bytes() == (tmp_path / "four/audio-0.pt").read_bytes()


def test_copies_at_other_speeds_are_cut_too(stage, recordings, tmp_path):
    """A copy is a session of its own, of a voice of its own, and its times are its own."""
    (recordings / "nik/day/text.wav").unlink()
    path = packed(stage, recordings, tmp_path / "out", shards=1, speeds="[0.9]")
    table = read_table(path)
    pieces = table[table["utterance"].str.startswith("ann/day/talk@0.9@")]
    seconds = pieces["num_samples"].sum() / RATE
    assert set(pieces["session"]) == {"ann/day/talk@0.9"} and 65 < seconds < 65 / 0.9 + 0.01
    speakers = known_speakers(tmp_path / "out/speakers.parquet", pieces["utterance"].to_numpy(object))
    assert set(speakers) == {"ann@0.9"}


def test_rejections_are_counted_in_files_not_in_pieces(stage, recordings, tmp_path):
    with pytest.raises(InputError, match="3 of 4 files are usable"):
        packed(stage, recordings, tmp_path / "out", max_rejected=0.2)


def test_a_file_that_is_called_like_a_piece_is_refused(stage, recordings, tmp_path):
    path = packed(stage, recordings, tmp_path / "out")
    piece = next(name for name in read_table(path)["utterance"] if name.startswith("nik/day/lecture@"))
    soundfile.write(recordings / f"{piece}.wav", talk("klettres_it", 4.0), RATE)
    with pytest.raises(InputError, match="two utterances are called 'nik/day/lecture@"):
        packed(stage, recordings, tmp_path / "twice")


def test_speakers_of_recordings_are_those_of_their_pieces(stage, recordings, tmp_path):
    path = packed(stage, recordings, tmp_path / "data" / "test")
    speakers = path.with_name("speakers.parquet")
    usable = read_table(path).query("status == 'ok'")["utterance"].to_numpy(object)
    expected = [name.partition("/")[0] for name in usable]
    assert known_speakers(speakers, usable).tolist() == expected
    known = known_about("test", [path], [speakers], {}).speakers.set_index("utterance")["speaker"]
    assert known[usable].tolist() == expected
    labels = tmp_path / "iter_1" / "pseudo_labels.parquet"
    numbers = np.array([name == "ann" for name in expected], np.int64)
    write_table(labels, pd.DataFrame({"utterance": usable, "label": numbers, "similarity": np.float32(1)}))
    stage(quality, "--pseudo-labels", labels, "--speakers", speakers, "--output", tmp_path / "quality.parquet")
    (row,) = read_table(tmp_path / "quality.parquet").to_dict("records")
    assert row["utterances_with_speaker"] == len(usable) and row["nmi"] == pytest.approx(1) and row["purity"] == 1


def test_names_of_pieces_sort_by_time_and_lead_back():
    names = [piece_name("a/talk", seconds) for seconds in (0, 3.05, 9.95, 12.35, 100, 9999.95, 17999.9)]
    assert names == sorted(names) and names[3] == "a/talk@00012.35"
    assert {recording_of(name) for name in names} == {"a/talk"} and recording_of("a/talk@0.9") == "a/talk@0.9"
    speakers = pd.DataFrame({"utterance": ["a/talk", "b@00001.00"], "speaker": ["ann", "bob"]})
    found = with_pieces(speakers, ["a/talk@00001.00", "b@00001.00", "c@00001.00", "d"])
    assert found["utterance"].tolist() == ["a/talk", "b@00001.00", "a/talk@00001.00"] and found["speaker"].tolist() == ["ann", "bob", "ann"]
    assert with_pieces(speakers, ["d"]) is speakers


# The checks -----------------------------------------------------------------------------------------------------------


def test_a_corpus_that_is_cut_is_checked_by_its_manifest():
    corpora = {"train": {"layout": "folder", "path": "a", "cut": {}}, "test": {"layout": "folder", "path": "b"}}
    experiment = resolve({**MINIMAL, "corpora": corpora})
    files = Files(experiment, Derived({}, {}, experiment, checkpoints=None))
    assert files.counted("train").endswith("/train/manifest.parquet") and files.counted("test").endswith("/test/listing.parquet")


def test_clusters_are_compared_with_pieces(stage, recordings, tmp_path):
    """Of which there are more than files."""
    path = packed(stage, recordings, tmp_path / "out")
    pieces = int((read_table(path)["status"] == "ok").sum())
    for clusters, fits in ((pieces, True), (pieces + 1, False)):
        settings = CorpusCheck(clusters={"cluster.clusters": clusters}, batch_sizes={}, shards=1).to_json()
        arguments = ("--settings", settings, "--listing", path, "--output", tmp_path / "check.json")
        if fits:
            stage(check_corpus, *arguments)
            continue
        with pytest.raises(InputError, match=f"lower it to {pieces} at most"):
            stage(check_corpus, *arguments)


def test_trials_about_files_that_are_cut_are_refused_at_once(stage, recordings, tmp_path):
    path = packed(stage, recordings, tmp_path / "out")
    piece = next(name for name in read_table(path)["utterance"] if name.startswith("ann/day/talk@"))
    arguments = ("--name", "mine", "--trials", tmp_path / "trials.txt", "--listing", path, "--output", tmp_path / "check.json")
    for named in ("ann/day/talk.wav", "ann/day/talk"):
        (tmp_path / "trials.txt").write_text(f"1 nik/day/short {named}\n0 {named} nik/day/short\n")
        with pytest.raises(InputError, match=rf"names '{named}', which was cut into utterances, such as '{piece}'.*leave `cut`"):
            stage(check_trials, *arguments)
    (tmp_path / "trials.txt").write_text(f"0 nik/day/short.wav {piece}\n1 nik/day/short {piece}.wav\n")
    stage(check_trials, *arguments)
    (tmp_path / "trials.txt").write_text("1 nik/day/short other\n")
    with pytest.raises(InputError, match="other"):
        stage(check_trials, *arguments)
