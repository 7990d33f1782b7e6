"""Hostile file names, at the level of single stages: used or set aside with a reason, never executed, never a path to write to."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
import torch

import pipeline.listing
import pipeline.noise
import pipeline.pack
import pipeline.rirs
from selfsv.artifacts import write_table
from selfsv.errors import InputError, SettingsError, printable
from selfsv.prepare.containers import RejectionError
from selfsv.prepare.decoding import decode, seconds_of
from selfsv.prepare.listing import enumerate_corpus
from selfsv.prepare.recorded import musan_files, response_files
from selfsv.prepare.videos import find_videos
from selfsv.scoring.trials import locate, read_trials
from selfsv.settings.data import Corpus
from selfsv.settings.experiment import resolve
from tests.hostile.conftest import UNUSABLE, USABLE, call_stage, refused, run_stage, write_voice

LISTED = ("--listing=l.parquet", "--speakers=s.parquet", "--left-out=e.parquet")


def hostile_tree(root: Path, depth: int) -> None:
    """A recording below each name, `depth` folders of that name down."""
    for number, name in enumerate([os.fsencode(name) for name in USABLE] + UNUSABLE):
        write_voice(b"/".join([os.fsencode(root), *[name] * depth, name + b".wav"]), seed=number)


def everything_below(folder: Path) -> set[str]:
    return {os.path.relpath(os.path.join(parent, name), folder) for parent, _, names in os.walk(folder) for name in names}


@pytest.mark.parametrize(("layout", "depth"), [("voxceleb", 2), ("folder", 0), ("folder", 1)])
def test_folders_are_used_as_far_as_names_can_be_stored(tmp_path, layout, depth):
    hostile_tree(tmp_path / "it's $(touch pwned)", depth)
    found = enumerate_corpus(Corpus(layout=layout, path=str(tmp_path / "it's $(touch pwned)"))).utterances
    usable = found[found["reason"] == ""]
    assert set(usable["utterance"]) == {"/".join([name] * (depth + 1)) for name in USABLE}
    assert all(Path(path).is_file() for path in usable["path"])
    rejected = found[found["reason"] != ""]
    assert len(rejected) == len(UNUSABLE) and rejected["reason"].str.startswith("unusable name").all()
    assert all(name.isprintable() for name in rejected[["utterance", "path", "session"]].to_numpy().ravel())


def test_listing_and_packing_write_their_outputs_and_nothing_else(tmp_path, monkeypatch):
    hostile_tree(tmp_path / "-in $(touch pwned)", 2)
    before = everything_below(tmp_path)
    settings = json.dumps({"layout": "voxceleb", "path": "../-in $(touch pwned)"})
    folder = tmp_path / "out; touch pwned"
    folder.mkdir()
    monkeypatch.chdir(folder)
    call_stage(monkeypatch, pipeline.listing, "--settings", settings, "--shards", 1, *LISTED)
    done = run_stage("pack", "--settings={}", "--listing=l.parquet", "--shard=0", "--audio=0.pt", "--manifest=m.parquet", folder=folder)
    assert done.returncode == 0, done.stderr
    assert everything_below(tmp_path) - before == {
        f"{folder.name}/{name}" for name in ("l.parquet", "s.parquet", "e.parquet", "0.pt", "m.parquet")
    }
    manifest = pd.read_parquet(folder / "m.parquet")
    assert (manifest["status"] == "ok").sum() == len(USABLE)
    assert "\x1b" not in done.stderr and done.stderr.count("rejected ") == len(UNUSABLE)
    assert all(line[2] == ":" for line in done.stderr.splitlines()), "a name began a line of its own"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_paths_of_a_listing_may_lead_anywhere_but_utterances_lead_nowhere(tmp_path, monkeypatch, kind):
    listing = tmp_path / "lists" / f"the $(touch pwned) list.{kind}"
    write_voice(tmp_path / "outside" / "a.wav")
    files = [
        "../outside/a.wav",
        *(f"in/{name}.wav" for name in USABLE),
        "in/nul\0.wav",
        "in/new\nline.wav",
        "in/\x1b[31m.wav",
        "http://x/a.wav",
    ]
    for name in USABLE:
        write_voice(listing.parent / "in" / f"{name}.wav")
    table = pd.DataFrame({"path": files, "utterance": [f"../../{number}" for number in range(len(files))], "speaker": "../../s"})
    table.to_csv(listing, index=False) if kind == "csv" else table.to_parquet(listing)
    arguments = ["--shards", 1, "--listing", tmp_path / "out" / "l.parquet", "--speakers", tmp_path / "out" / "s.parquet"]
    arguments += ["--left-out", tmp_path / "out" / "e.parquet"]
    before = everything_below(tmp_path)
    call_stage(monkeypatch, pipeline.listing, "--settings", json.dumps({"layout": "listing", "path": str(listing)}), *arguments)
    out = tmp_path / "out"
    packing = ["--listing", out / "l.parquet", "--shard", 0, "--audio", out / "0.pt", "--manifest", out / "m.parquet"]
    call_stage(monkeypatch, pipeline.pack, "--settings", "{}", *packing)
    assert everything_below(tmp_path) - before == {f"out/{name}" for name in ("l.parquet", "s.parquet", "e.parquet", "0.pt", "m.parquet")}
    manifest = pd.read_parquet(out / "m.parquet")
    assert (manifest["status"] == "ok").sum() == len(USABLE) + 1
    reasons = manifest.loc[manifest["status"] == "rejected", "reason"].str.partition(":")[0]
    assert sorted(reasons) == ["missing", "unusable name", "unusable name", "unusable name"]


def test_a_listing_is_a_file_even_if_its_name_is_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        enumerate_corpus(Corpus(layout="listing", path="http://127.0.0.1:9/list.csv"))


def test_links_that_lead_nowhere_or_to_themselves_are_set_aside(tmp_path):
    write_voice(tmp_path / "good.wav")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "gone.wav").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.wav")
    found = enumerate_corpus(Corpus(layout="folder", path=str(tmp_path))).utterances.set_index("utterance")["reason"]
    assert found["good"] == ""
    assert found["loop"].startswith("unreadable") and found["gone"].startswith("missing") and found["pipe"].startswith("not audio")


def test_noise_and_responses_are_found_below_any_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind in ("noise", "music", "speech"):
        hostile_tree(tmp_path / "musan $(touch pwned)" / kind, 1)
    hostile_tree(tmp_path / "-rirs;touch pwned", 1)
    assert [len(paths) for paths in musan_files(str(tmp_path / "musan $(touch pwned)")).values()] == [len(USABLE)] * 3
    assert len(response_files(str(tmp_path / "-rirs;touch pwned"))) == len(USABLE)
    settings = json.dumps({"path": "musan $(touch pwned)", "minutes_per_kind": 0.5})
    call_stage(monkeypatch, pipeline.noise, "--settings", settings, "--seed=1", "--noise=n.pt")
    assert len(torch.load(tmp_path / "n.pt", weights_only=True)["start"])
    settings = json.dumps({"path": "-rirs;touch pwned"})
    call_stage(monkeypatch, pipeline.rirs, "--settings", settings, "--seed=1", "--rirs=r.pt")
    assert len(torch.load(tmp_path / "r.pt", weights_only=True)["start"]) == len(USABLE)


def test_videos_are_matched_by_any_name(tmp_path):
    for name in USABLE:
        (tmp_path / "video" / name).mkdir(parents=True)
        (tmp_path / "video" / name / f"{name}.mp4").touch()
    listing = pd.DataFrame({"utterance": [f"{name}/{name}" for name in USABLE] + ["../../x"], "path": "a.wav", "reason": ""})
    found = find_videos(Corpus(layout="folder", path="audio", video=str(tmp_path / "video")), listing)
    assert (found["path"] != "").tolist() == [True] * len(USABLE) + [False]


@pytest.mark.parametrize("name", [*map(os.fsencode, USABLE), *UNUSABLE, b"-"])
def test_a_file_is_read_whatever_its_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = os.fsdecode(name)
    write_voice(os.path.join(os.fsencode(tmp_path), name))
    assert len(decode(path)) == round(1.2 * 16_000)
    assert seconds_of(path) == pytest.approx(1.2)


def test_a_working_directory_of_any_name_is_read_from(tmp_path, monkeypatch):
    folder = os.path.join(os.fsencode(tmp_path), b"latin-\xe9 \n")
    write_voice(os.path.join(folder, b"a.wav"))
    monkeypatch.chdir(folder)
    assert len(decode("a.wav")) == round(1.2 * 16_000)


@pytest.mark.parametrize("path", ["concat:a.wav|b.wav", "http://127.0.0.1:9/a.wav", "pipe:0", "file:a.wav", "nul\0.wav", "/dev/zero"])
def test_an_address_is_no_file(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RejectionError):
        decode(path)


def test_trials_name_utterances_and_nothing_else(tmp_path):
    names = ["$(touch${IFS}pwned)", "../../../etc/passwd", "-rf", "`touch" + "\x1b[31m"]
    path = tmp_path / "-the $(touch pwned) list.txt"
    path.write_text("".join(f"1 {name} {name}.wav\n" for name in names))
    trials = read_trials(path)
    assert trials.enroll == names
    locate(trials, pd.Series(names).to_numpy())
    with pytest.raises(InputError, match="no embedding"):
        locate(trials, pd.Series(names[:2]).to_numpy())


def test_control_characters_reach_neither_log_nor_terminal(tmp_path):
    path = tmp_path / "red \x1b[31m list.txt"
    path.write_text("1 \x1b]0;title\x07 b\n")
    for name in ("e", "t"):
        write_table(tmp_path / f"{name}.parquet", pd.DataFrame({"utterance": ["a\x1b[2J"]}))
    files = ["--embeddings", "e\x1b[31m.parquet", "--train-embeddings=t.parquet", "--pseudo-labels=p.parquet", "--output=o.parquet"]
    said = refused(run_stage("score", "--settings={}", "--trials", path, *files, folder=tmp_path), "\\x1b[31m")
    assert "\\x1b" in said
    assert printable("a\nb\x1b\u202e\udcff", keep="\n") == "a\nb\\x1b\\u202e\\udcff"


@pytest.mark.parametrize(
    "name", ["../x", "a b", "$(touch pwned)", "", ".", "..", "a/b", "/tmp/x", "-rf", "a\nb", "a\n", "\x1b[31m", "é", "<b>"]
)
@pytest.mark.parametrize("key", ["experiment", "corpora", "trials", "train_corpus"])
def test_names_of_the_configuration_are_plain_words(name, key):
    corpus = {"layout": "folder", "path": "a"}
    config = {"experiment": "x", "corpora": {"train": corpus}, "trials": {}}
    changes = {
        "experiment": name,
        "corpora": {"train": corpus, name: corpus},
        "trials": {name: {"corpus": "train", "path": "t"}},
        "train_corpus": name,
    }
    with pytest.raises(SettingsError) as caught:
        resolve({**config, key: changes[key]})
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and key in message
    assert message.isprintable()
