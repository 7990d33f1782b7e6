"""Trial lists: VoxCeleb's format, and what is said about lists that cannot be used."""

from pathlib import Path

import numpy as np
import pytest

from selfsv.errors import InputError
from selfsv.extensions import AUDIO_EXTENSIONS
from selfsv.scoring.trials import locate, read_trials, utterance_of

UTTERANCES = np.array(["id10270/x6uYqmx31kE/00001", "id10270/8jEAjG6SegY/00008", "talk/v1.2"], dtype=object)


def listed(folder: Path, text: str) -> Path:
    path = folder / "trials.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_voxceleb_names_find_their_utterances(tmp_path):
    trials = read_trials(
        listed(tmp_path, "1 id10270/x6uYqmx31kE/00001.wav id10270/8jEAjG6SegY/00008.wav\r\n\n0 talk/v1.2 talk/v1.2.FLAC\n")
    )
    enroll, test = locate(trials, UTTERANCES)
    assert trials.target.tolist() == [True, False]
    assert trials.line.tolist() == [1, 3]
    assert enroll.tolist() == [0, 2]
    assert test.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "utterance"),
    [("a/b/00001.wav", "a/b/00001"), ("a/b/00001", "a/b/00001"), ("a.b/c", "a.b/c"), ("a/x.1", "a/x.1"), ("a.M4A", "a"), ("wav", "wav")],
)
def test_only_audio_extensions_are_cut(name, utterance):
    assert utterance_of(name) == utterance


def test_there_is_one_list_of_endings(tmp_path):
    for extension in AUDIO_EXTENSIONS:
        assert utterance_of(f"a/1{extension}") == utterance_of(f"a/1{extension.upper()}") == "a/1"


def test_a_mark_at_the_beginning_is_no_part_of_the_label(tmp_path):
    path = tmp_path / "trials.txt"
    path.write_bytes("1 a b\r\n0 a c\r\n".encode("utf-8-sig"))
    assert read_trials(path).target.tolist() == [True, False]


def test_names_with_spaces_are_separated_by_tabs(tmp_path):
    trials = read_trials(listed(tmp_path, "1\tmy voice/1.wav\tmy voice/2 b.wav\n0 a b\n0\ta\tb c\r\n1\ta b\n"))
    assert trials.enroll == ["my voice/1.wav", "a", "a", "a"]
    assert trials.test == ["my voice/2 b.wav", "b", "b c", "b"]
    with pytest.raises(InputError, match=r"5 words instead of 3: .*with two tabs between them where names have spaces"):
        read_trials(listed(tmp_path, "1 my voice my friend\n"))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("a b target", "1 a b"),
        ("a b nontarget", "0 a b"),
        ("a b 1", "1 a b"),
        ("target a b", "1 a b"),
        ("a.wav b.wav TARGET", "1 a.wav b.wav"),
    ],
)
def test_another_order_is_refused_with_the_line_that_would_do(tmp_path, text, right):
    with pytest.raises(InputError, match=f"Write this line as '{right}'"):
        read_trials(listed(tmp_path, f"{text}\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 a b\n1 a\n", "line 2: 2 words instead of 3"),
        ("1 a b c\n", "line 1: 4 words"),
        ("1 a b\n2 a b\n", "line 2: the label is '2' instead of 0 or 1"),
        ("target a b\n", "line 1: the label is 'target'"),
        ("\n \n", "holds no trials"),
    ],
)
def test_a_bad_list_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_trials(listed(tmp_path, text))


def test_a_missing_or_binary_list_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.txt does not exist: correct its `path`"):
        read_trials(tmp_path / "nowhere.txt")
    binary = tmp_path / "audio.wav"
    binary.write_bytes(b"RIFF\xff\xfe\x00")
    with pytest.raises(InputError, match="not a text file"):
        read_trials(binary)


def test_missing_utterances_give_one_message_with_line_count_and_fix(tmp_path):
    trials = read_trials(listed(tmp_path, "1 talk/v1.2 talk/v1.2\n0 talk/v1.2 gone/1.wav\n0 gone/2 gone/1.wav\n"))
    with pytest.raises(InputError) as error:
        locate(trials, UTTERANCES)
    message = str(error.value)
    assert "line 2: utterance 'gone/1.wav' has no embedding (and 1 more; 2 of 3 trials are concerned)" in message
    assert "named like 'id10270/x6uYqmx31kE/00001'" in message
    assert "take these trials out of the list" in message


def test_a_rejected_utterance_is_explained_by_its_reason(tmp_path):
    trials = read_trials(listed(tmp_path, "0 talk/v1.2 short/1.wav\n"))
    with pytest.raises(InputError, match=r"'short/1.wav' has no embedding. It was rejected from the corpus: 0.2 s is too short"):
        locate(trials, UTTERANCES, {"short/1": "0.2 s is too short"})
