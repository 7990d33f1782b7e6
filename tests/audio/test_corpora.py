"""Enumerating corpora: layouts, names, and everything a user's folder may hold."""

import logging
import os
from pathlib import Path

import pandas as pd
import pytest

from selfsv.errors import InputError, SettingsError
from selfsv.prepare.listing import assign_shards, count_reasons, enumerate_corpus
from selfsv.settings.data import Corpus

DEMO = Path(__file__).parents[2] / "demo/speech"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def listed(layout: str, *paths: Path | str) -> pd.DataFrame:
    return enumerate_corpus(Corpus(layout=layout, path=[str(path) for path in paths])).utterances  # type: ignore[arg-type]


def test_voxceleb1_names_sessions_and_speakers(tmp_path: Path) -> None:
    touch(tmp_path, "id10002/zz/00001.wav", "id10001/b9/00002.wav", "id10001/b9/00001.wav")
    files = enumerate_corpus(Corpus(layout="voxceleb", path=str(tmp_path)))
    assert files.utterances["utterance"].tolist() == ["id10001/b9/00001", "id10001/b9/00002", "id10002/zz/00001"]
    assert files.utterances["session"].tolist() == ["id10001/b9", "id10001/b9", "id10002/zz"]
    assert files.utterances["path"][2] == str(tmp_path / "id10002/zz/00001.wav")
    assert files.speakers.to_dict("list") == {
        "utterance": ["id10001/b9/00001", "id10001/b9/00002", "id10002/zz/00001"],
        "speaker": ["id10001", "id10001", "id10002"],
    }


@pytest.mark.parametrize("above", ["wav", "aac", "dev/aac", "vox2/dev/aac", ""])
def test_folders_above_the_speakers_do_not_enter_the_names(tmp_path: Path, above: str) -> None:
    touch(tmp_path / above, "id00012/21Uxsk56VDQ/00001.m4a", "id00013/x/00001.M4A")
    touch(tmp_path, "vox2_meta.csv")
    assert listed("voxceleb", tmp_path)["utterance"].tolist() == ["id00012/21Uxsk56VDQ/00001", "id00013/x/00001"]


def test_a_folder_with_two_corpora_is_ambiguous_and_both_can_be_named(tmp_path: Path) -> None:
    touch(tmp_path, "dev/aac/id1/s/1.m4a", "test/aac/id2/s/1.m4a")
    with pytest.raises(InputError, match=r"several corpora.*dev.*test"):
        listed("voxceleb", tmp_path)
    assert listed("voxceleb", tmp_path / "dev", tmp_path / "test")["utterance"].tolist() == ["id1/s/1", "id2/s/1"]


def test_the_demo_has_the_counts_of_its_readme() -> None:
    files = enumerate_corpus(Corpus(layout="voxceleb", path=str(DEMO / "dev")))
    assert len(files.utterances) == 1225
    assert files.speakers["speaker"].nunique() == 38
    on_disk = {str(path.relative_to(DEMO / "dev/wav").with_suffix("")) for path in (DEMO / "dev/wav").rglob("*.opus")}
    assert set(files.utterances["utterance"]) == on_disk


def test_voxceleb_files_at_the_wrong_depth_are_set_aside(tmp_path: Path) -> None:
    touch(tmp_path, "id1/s/1.wav", "id1/stray.wav", "id1/a/b/deep.wav")
    table = listed("voxceleb", tmp_path).set_index("utterance")
    assert table.loc["id1/s/1", "reason"] == ""
    assert table.loc[["id1/stray", "id1/a/b/deep"], "reason"].str.contains("speaker.*session").all()


def test_voxceleb_layout_on_a_flat_folder_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    touch(tmp_path, "1.wav", "2.wav")
    with pytest.raises(InputError, match="layout: folder"):
        listed("voxceleb", tmp_path)


def test_any_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a/b/c/one.flac", "two.v2.OGG", "notes.txt", ".hidden/three.wav", "a/._one.flac", "wav")
    files = enumerate_corpus(Corpus(layout="folder", path=str(tmp_path)))
    assert files.utterances["utterance"].tolist() == ["a/b/c/one", "two.v2"]
    assert files.utterances["session"].tolist() == ["a/b/c", ""]
    assert list(files.speakers.columns) == ["utterance", "speaker"]
    assert len(files.speakers) == 0


def test_two_files_with_one_id_name_both(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "a/1.flac")
    with pytest.raises(InputError) as caught:
        listed("folder", tmp_path)
    assert str(tmp_path / "a/1.wav") in str(caught.value)
    assert str(tmp_path / "a/1.flac") in str(caught.value)


def test_two_roots_with_one_id_name_both(tmp_path: Path) -> None:
    touch(tmp_path, "x/s/u/1.wav", "y/s/u/1.wav")
    with pytest.raises(InputError, match=r"'s/u/1'.*/x/s/u/1.wav and .*/y/s/u/1.wav"):
        listed("voxceleb", tmp_path / "x", tmp_path / "y")


def test_converted_copies_are_counted_and_one_ending_can_be_chosen(tmp_path: Path) -> None:
    touch(tmp_path, *(f"id1/s/{number}.{end}" for number in range(3) for end in ("m4a", "wav")), "id1/s/once.m4a")
    with pytest.raises(InputError, match=r"3 ids of 4 are concerned.*`extension` \(m4a or wav\)"):
        listed("voxceleb", tmp_path)
    for extension in ("wav", ".WAV", ["wav"]):
        table = enumerate_corpus(Corpus(layout="voxceleb", path=str(tmp_path), extension=extension)).utterances
        assert table["path"].str.endswith(".wav").all()
        assert len(table) == 3
    with pytest.raises(SettingsError, match="extension"):
        Corpus.read('{"layout": "listing", "path": "a.csv", "extension": "wav"}')


def test_recordings_of_phones_dictation_machines_and_older_corpora_are_looked_for(tmp_path: Path) -> None:
    expected = [".3gp", ".aif", ".aifc", ".aiff", ".amr", ".au", ".caf", ".m4b", ".mka", ".mp2", ".oga", ".snd", ".sph", ".spx", ".voc"]
    expected += [".w64", ".wma", ".wv", ".wmv", ".mpg"]
    touch(tmp_path, *(f"{number}{extension}" for number, extension in enumerate(expected)))
    touch(tmp_path, *(f"upper/{number}{extension.upper()}" for number, extension in enumerate(expected)))
    assert len(listed("folder", tmp_path)) == 2 * len(expected)


def test_files_with_other_endings_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "a/1.wav", "a/1.txt", "b/2.shn", "b/c/3.SHN", "README", ".hidden.txt")
    with caplog.at_level(logging.INFO, "selfsv"):
        files = enumerate_corpus(Corpus(layout="folder", path=str(tmp_path)))
    assert files.left_out == {".shn": 2, ".txt": 1, "none": 1}
    assert "left out 4 files with other endings (2 .shn, " in caplog.text
    (tmp_path / "a/1.wav").unlink()
    with pytest.raises(InputError, match=r"no audio files .*there are 4 files with other endings \(2 \.shn"):
        listed("folder", tmp_path)


def test_channels_come_from_the_listing_or_else_from_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,utterance,channel\ncall.wav,left,1\ncall.wav,right,2\nother.wav,both,\n")
    for of_the_corpus in (0, 2):
        corpus = Corpus(layout="listing", path=str(tmp_path / "list.csv"), channel=of_the_corpus)
        table = enumerate_corpus(corpus).utterances
        assert dict(zip(table["utterance"], table["channel"], strict=True)) == {"left": 1, "right": 2, "both": of_the_corpus}
    pd.DataFrame({"path": ["a.wav", "b.wav"], "channel": [2, None]}).to_parquet(tmp_path / "list.parquet")
    assert listed("listing", tmp_path / "list.parquet")["channel"].tolist() == [2, 0]
    (tmp_path / "list.csv").write_text("path,channel\na.wav,1\na.wav,2\n")
    with pytest.raises(InputError, match="an id of its own, in the listing's column `utterance`"):
        listed("listing", tmp_path / "list.csv")
    for wrong in ("A", "-1", "1.5", "nan", "inf"):
        (tmp_path / "list.csv").write_text(f"path,channel\na.wav,{wrong}\n")
        with pytest.raises(InputError, match=r"row 1 of the listing .*: the channel is '.*counted from 1"):
            listed("listing", tmp_path / "list.csv")


@pytest.mark.parametrize("layout", ["voxceleb", "folder"])
def test_an_empty_corpus(tmp_path: Path, layout: str) -> None:
    touch(tmp_path, "readme.txt")
    with pytest.raises(InputError, match="no audio files"):
        listed(layout, tmp_path)


def test_no_paths_at_all() -> None:
    with pytest.raises(InputError, match="path"):
        enumerate_corpus(Corpus(layout="folder", path=[]))


@pytest.mark.parametrize("layout", ["voxceleb", "folder", "listing"])
def test_a_missing_corpus_is_named(tmp_path: Path, layout: str) -> None:
    with pytest.raises(InputError, match="nowhere"):
        listed(layout, tmp_path / "nowhere")


def test_awkward_names_are_kept_as_they_are(tmp_path: Path) -> None:
    names = ["with space/it's.wav", '"quoted"/-dash.wav', "$(touch pwned)/`id`;&.wav", "-rf/ümläut 你好.wav", "%s/{brace}.wav"]
    touch(tmp_path, *names)
    table = listed("folder", tmp_path)
    assert set(table["utterance"]) == {name.removesuffix(".wav") for name in names}
    assert (table["reason"] == "").all()
    assert all(Path(path).is_file() for path in table["path"])


def test_names_that_no_text_file_can_hold_are_set_aside_not_fatal(tmp_path: Path) -> None:
    touch(tmp_path, "good/1.wav", "good/line\nbreak.wav", "tab\there/1.wav", "good/next\u2028line.wav")
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    (tmp_path / os.fsdecode(b"caf\xe9/\xff.wav")).write_bytes(b"x")
    table = listed("folder", tmp_path).set_index("utterance")
    assert table.index[table["reason"] == ""].tolist() == ["good/1"]
    assert table.loc["good/line\\nbreak", "reason"].startswith("unusable name: holds a line break")
    assert table.loc["caf\\udce9/\\udcff", "reason"].startswith("unusable name: not valid UTF-8")
    assert "tab\\there/1" in table.index
    assert table["path"].str.encode("utf-8").notna().all()


def test_links_are_followed_and_loops_refused(tmp_path: Path) -> None:
    touch(tmp_path / "real", "s/u/1.wav")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "linked").symlink_to(tmp_path / "real")
    (corpus / "dead.wav").symlink_to(tmp_path / "gone.wav")
    table = listed("folder", corpus).set_index("utterance")
    assert table.loc["linked/s/u/1", "reason"] == ""
    assert table.loc["dead", "reason"].startswith("missing")
    (tmp_path / "real/s/back").symlink_to(tmp_path / "real")
    with pytest.raises(InputError, match="links to a folder that holds it"):
        listed("folder", corpus)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless.wav")
    touch(tmp_path, "a.wav")
    assert listed("folder", tmp_path).set_index("utterance").loc["endless", "reason"].startswith("not audio")


def test_csv_listing(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text('path,speaker,note\nsub/b.wav,anna,x\n"/data/a, b.flac",,y\n', encoding="utf-8")
    files = enumerate_corpus(Corpus(layout="listing", path=str(tmp_path / "list.csv")))
    assert files.utterances["utterance"].tolist() == ["data/a, b", "sub/b"]
    assert files.utterances["path"].tolist() == ["/data/a, b.flac", str(tmp_path / "sub/b.wav")]
    assert files.speakers.to_dict("records") == [{"utterance": "sub/b", "speaker": "anna"}]


@pytest.mark.parametrize(("name", "mark"), [("list.tsv", "\t"), ("list.csv", ";"), ("list.txt", ",")])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_listings_with_tabs_or_semicolons(tmp_path: Path, name: str, mark: str, start: str) -> None:
    table = pd.DataFrame({"path": ["one, two;.wav", "b.wav"], "speaker": ["anna", "bert"]})
    (tmp_path / name).write_text(start + table.to_csv(sep=mark, index=False), encoding="utf-8")
    files = enumerate_corpus(Corpus(layout="listing", path=str(tmp_path / name)))
    assert files.utterances["utterance"].tolist() == ["b", "one, two;"]
    assert files.speakers["speaker"].tolist() == ["bert", "anna"]


def test_parquet_listing_with_ids_and_sessions(tmp_path: Path) -> None:
    table = pd.DataFrame({"path": ["b.wav", "a.wav"], "utterance": ["u2", "u1"], "session": ["s2", None], "speaker": [7, 8]})
    table.to_parquet(tmp_path / "list.parquet")
    files = enumerate_corpus(Corpus(layout="listing", path=str(tmp_path / "list.parquet")))
    assert files.utterances["utterance"].tolist() == ["u1", "u2"]
    assert files.utterances["session"].tolist() == ["", "s2"]
    assert files.speakers["speaker"].tolist() == ["8", "7"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file,speaker\na.wav,x\n", "no column `path`"),
        (b"path,speaker\n,x\n", "row 1"),
        (b"path\na.wav\na.wav\n", "utterance id 'a'"),
        (b"path\ncaf\xe9.wav\n", "cannot be read"),
        (b"", "cannot be read"),
        (b"path,speaker\n", "no audio files"),
    ],
)
def test_bad_listings(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        listed("listing", tmp_path / "list.csv")


def test_a_listing_that_is_no_parquet_file(tmp_path: Path) -> None:
    (tmp_path / "list.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match="cannot be read"):
        listed("listing", tmp_path / "list.parquet")


def test_shards_are_contiguous_and_even() -> None:
    shards = assign_shards(1003, 64)
    assert shards == sorted(shards)
    sizes = pd.Series(shards).value_counts()
    assert len(sizes) == 64
    assert sizes.max() - sizes.min() <= 1
    assert assign_shards(2, 64) == [0, 32]


def test_reasons_are_counted_by_kind() -> None:
    assert count_reasons(["silent: a", "empty", "silent: b"]) == [("silent", 2), ("empty", 1)]
