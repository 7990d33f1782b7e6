"""Corpora by the number of talkers: who is in them, and that all trainings see as much."""

import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmarks import speakers_as_labels, talkers
from selfsv.settings.experiment import merged, overlaid, resolve
from selfsv.settings.reading import read_file
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What the program writes for 12 talkers of 4 utterances and 5 of 30."""
    folder = tmp_path_factory.mktemp("talkers")
    for name, count, each in (("few", 12, 4), ("more", 5, 30)):
        for talker in range(count):
            session = folder / name / f"{name}{talker}" / "session"
            session.mkdir(parents=True)
            for number in range(each):
                (session / f"{number}.wav").touch()
    original, sys.argv = sys.argv, ["talkers", str(folder / "few"), str(folder / "more"), "--sizes", "3", "--into", str(folder / "into")]
    try:
        talkers.main()
    finally:
        sys.argv = original
    return folder / "into"


def test_who_is_in_each_corpus(written):
    found = {path.stem: pd.read_csv(path) for path in written.glob("*.csv")}
    assert {name: (table["speaker"].nunique(), len(table)) for name, table in found.items()} == {
        **{f"t3_seed_{seed}": (3, 12) for seed in (1, 2, 3)},
        "t12": (12, 48),
        "t17": (17, 198),
    }
    assert len({frozenset(found[f"t3_seed_{seed}"]["speaker"]) for seed in (1, 2, 3)}) > 1


def test_every_row_resolves_and_sees_about_as_many_utterances(written):
    corpora, systems = (yaml.safe_load((written / f"{name}.yaml").read_text()) for name in ("corpora", "systems"))
    config = read_file(REPOSITORY / "config.yaml")
    common = merged(read_file(REPOSITORY / "demo/config.yaml"), corpora)
    for name, row in systems["ablation"]["systems"].items():
        changes = {key: value for key, value in row.items() if key not in ("overlay", "stage_one", "labels")}
        changes["train_corpus"] = changes["train_corpus"].format(seed="seed_2")
        overlay = read_file(REPOSITORY / row["overlay"]) if "overlay" in row else {}
        experiment = resolve(merged(overlaid(config, merged(overlay, common)), changes))
        utterances = len(pd.read_csv(written / f"{changes['train_corpus']}.csv"))
        if "longer" not in name:
            assert experiment.train.epochs * utterances == pytest.approx(talkers.VISITS, rel=0.02)
        assert (experiment.train.gate.mode == "none") == ("-speakers" in name)
    assert experiment.train.epochs == talkers.EPOCHS  # the last ones are those of the largest corpus
    longer = {name: row["train"]["epochs"] for name, row in systems["ablation"]["systems"].items() if name.startswith("t17-longer-")}
    assert longer == {"t17-longer-speakers": 12, "t17-longer-round36": 36, "t17-longer-speakers36": 36, "t17-longer-keep": 12}


def test_a_size_must_be_smaller_than_the_folder(written):
    with pytest.raises(SystemExit, match="12 talkers"):
        talkers.drawn([written.parent / "few"], [12], [1])


def test_speakers_as_labels_are_those_of_the_accepted_utterances():
    speakers = pd.DataFrame({"utterance": ["a", "b", "c", "d"], "speaker": ["y", "x", "y", "z"]})
    manifest = pd.DataFrame({"utterance": ["c", "b", "a", "d"], "status": ["ok", "ok", "ok", "rejected"]})
    labels = speakers_as_labels.labelled(speakers, manifest)
    assert labels["utterance"].tolist() == ["c", "b", "a"] and labels["label"].tolist() == [1, 0, 1]
    assert labels["label"].dtype == np.int32
    with pytest.raises(SystemExit, match="1 accepted"):
        speakers_as_labels.labelled(speakers.iloc[1:], manifest)
