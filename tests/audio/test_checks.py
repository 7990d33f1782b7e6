"""What is said right after a listing: settings and trial lists that the corpus cannot serve."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline import check_corpus, check_trials
from selfsv.artifacts import write_table
from selfsv.errors import InputError
from selfsv.settings.experiment import resolve
from selfsv.settings.jobs import CorpusCheck


def listing(folder: Path, utterances: int, unusable: int = 0) -> Path:
    """The listing of a corpus with so many utterances, and files that can be none."""
    names = [f"id1/session/{number:05d}" for number in range(utterances + unusable)]
    reasons = [""] * utterances + ["missing: the link leads nowhere"] * unusable
    write_table(folder / "listing.parquet", pd.DataFrame({"utterance": names, "path": names, "reason": reasons}))
    return folder / "listing.parquet"


def check(monkeypatch: pytest.MonkeyPatch, path: Path, processes: int = 1, **changes: Any) -> Path:
    """The stage on an experiment with these settings."""
    config = {"experiment": "x", "corpora": {"train": {"layout": "folder", "path": "a"}}, **changes}
    settings = CorpusCheck.of(resolve(config)).to_json()
    output = path.parent / "corpus.json"
    arguments = ["--settings", settings, "--listing", path, "--output", output, "--processes", processes]
    monkeypatch.setattr(sys, "argv", ["check_corpus", *map(str, arguments)])
    check_corpus.main()
    return output


def small(clusters: int, aware: int, batch: int) -> dict[str, Any]:
    return {
        "cluster": {"clusters": clusters},
        "pretrain": {"batch_size": batch, "cluster_aware": {"clusters": aware}},
        "train": {"batch_size": batch},
    }


def test_settings_that_fit_pass_in_silence(tmp_path, monkeypatch, caplog):
    output = check(monkeypatch, listing(tmp_path, 36, unusable=3), **small(36, 36, 36))
    assert json.loads(output.read_text()) == {"utterances": 36}
    assert not caplog.text


def test_too_many_clusters_are_named_with_both_keys_and_what_would_do(tmp_path, monkeypatch):
    with pytest.raises(InputError) as caught:
        check(monkeypatch, listing(tmp_path, 36, unusable=3), **small(37, 38, 36))
    said = str(caught.value)
    assert "36 utterances" in said
    assert "'cluster.clusters' is 37: lower it to 36 at most" in said
    assert "'pretrain.cluster_aware.clusters' is 38: lower it to 36 at most" in said


@pytest.mark.parametrize(
    "unused",
    [
        {"initial_model": "model.pt"},
        {"pretrain": {"method": "ivector"}},
        {"pretrain": {"epochs": 5, "cluster_aware": {"clusters": 10_000, "start_epoch": 5}}},
        {"pretrain": {"cluster_aware": {"clusters": 10_000, "start_epoch": 0, "partners": "none"}}},
    ],
)
def test_clusters_that_are_never_made_are_not_asked_for(tmp_path, monkeypatch, unused):
    check(monkeypatch, listing(tmp_path, 36), cluster={"clusters": 10}, **unused)


def test_clusters_are_checked_without_baselines(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"cluster\.clusters"):
        check(monkeypatch, listing(tmp_path, 36), baselines=False, rounds=0, initial_model="model.pt")


@pytest.mark.parametrize(("utterances", "processes"), [(1, 1), (7, 8)])
def test_fewer_utterances_than_processes_are_too_few(tmp_path, monkeypatch, utterances, processes):
    with pytest.raises(InputError, match="lower their number, or add recordings"):
        check(monkeypatch, listing(tmp_path, utterances), processes, **small(1, 1, 1))
    check(monkeypatch, listing(tmp_path, utterances + 1), processes, **small(1, 1, 1))


def test_fewer_utterances_than_a_batch_are_doubted(tmp_path, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING):
        check(monkeypatch, listing(tmp_path, 400), **small(10, 10, 401))
    assert [record.getMessage().split("'")[1] for record in caplog.records] == ["pretrain.batch_size", "train.batch_size"]
    assert "401" in caplog.text and "400 utterances" in caplog.text and "10, does well" in caplog.text


def test_a_large_corpus_in_few_shards_is_doubted(tmp_path, monkeypatch, caplog):
    check(monkeypatch, listing(tmp_path, 100_001), pack={"shards": 2})
    assert "'pack.shards' is 2 for 100001 files" in caplog.text and "About 5 " in caplog.text


def trials(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> Path:
    """The stage on a list with this text and a corpus of four utterances, and one file that can be none."""
    (folder / "list.txt").write_text(text)
    arguments = ["--name", "mine", "--trials", folder / "list.txt", "--listing", listing(folder, 4, unusable=1)]
    arguments += ["--output", folder / "trials.json"]
    monkeypatch.setattr(sys, "argv", ["check_trials", *map(str, arguments)])
    check_trials.main()
    return folder / "trials.json"


def test_a_list_of_the_corpus_passes(tmp_path, monkeypatch):
    output = trials(monkeypatch, tmp_path, "1 id1/session/00000.wav id1/session/00001.wav\n0 id1/session/00003 id1/session/00002\n")
    assert json.loads(output.read_text()) == {"trials": 2, "targets": 1}


@pytest.mark.parametrize(
    ("text", "number", "named"),
    [
        ("1 a/b/c a/b/d\n0 a/b/c a/b/e\n", "none of its 2 trials", "'a/b/c'"),
        ("1 id1/session/00000 id1/session/00001\n0 id1/session/00000 a/b/c.wav\n1 a/b/c a/b/c\n", "only 1 of its 3 trials", "'a/b/c.wav'"),
        ("1 id1/session/00000 id1/session/00001\n0 id1/session/00000 id1/session/00004\n", "only 1 of its 2 trials", "leads nowhere"),
    ],
)
def test_a_list_that_the_corpus_cannot_serve_is_named_and_counted(tmp_path, monkeypatch, text, number, named):
    with pytest.raises(InputError) as caught:
        trials(monkeypatch, tmp_path, text)
    said = str(caught.value)
    assert said.startswith(f"trials.mine: {number} can be scored") and named in said
