"""Enrolled speakers: what they are compared by, who it is and how sure that is, and that no recording is lost."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import selfsv
from selfsv.__main__ import main
from selfsv.cli.identify import posteriors
from selfsv.inference.gallery import Gallery
from selfsv.scoring.calibration import Calibration
from tests.selfsv.conftest import recording


@pytest.fixture
def calibrated(experiment, tmp_path) -> Path:
    """A copy of the experiment with a calibration of s-norm scores and durations."""
    shutil.copytree(experiment.folder, tmp_path / "calibrated")
    rows = [Calibration("snorm", -2.0, 1.5, 0.5, 0.25)._asdict() | {"chosen": True}]
    pd.DataFrame(rows).to_parquet(tmp_path / "calibrated" / "iter_1" / "calibration.parquet")
    return tmp_path / "calibrated"


@pytest.fixture
def model(calibrated) -> selfsv.SpeakerModel:
    return selfsv.load(calibrated, "cpu")


def gallery_of(model, experiment, speakers: int = 3, each: int = 3) -> Gallery:
    gallery = Gallery(model)
    for speaker in sorted(set(experiment.speakers))[:speakers]:
        mine = [index for index, name in enumerate(experiment.speakers) if name == speaker][:each]
        for index in mine:
            gallery.add(speaker, f"r{index}", f"{index}", experiment.embeddings[index], 2.0 + index)
    return gallery


@pytest.mark.parametrize("norm", ["cosine", "snorm"])
def test_the_best_reference_counts(model, experiment, norm):
    gallery = gallery_of(model, experiment)
    probes = experiment.embeddings[-4:]
    found = gallery.scores(probes, norm, "best")
    for column, speaker in enumerate(gallery.speakers):
        indices = [int(name[1:]) for name in gallery.recordings(speaker)]
        for row, probe in enumerate(probes):
            expected = max(model.compare(probe, experiment.embeddings[index], norm) for index in indices)
            assert found[row, column] == pytest.approx(expected, abs=1e-5)


def test_ratios_of_the_best_reference_are_the_models(model, experiment):
    gallery = gallery_of(model, experiment)
    (found,) = gallery.llrs(experiment.embeddings[-1:], np.array([3.0]), "best")
    for column, speaker in enumerate(gallery.speakers):
        indices = [int(name[1:]) for name in gallery.recordings(speaker)]
        expected = max(model.llr(experiment.embeddings[-1], experiment.embeddings[index], (3.0, 2.0 + index)) for index in indices)
        assert found[column] == pytest.approx(expected, abs=1e-4)


def test_of_one_recording_each_mean_and_best_are_alike(model, experiment):
    gallery = gallery_of(model, experiment, each=1)
    probes, seconds = experiment.embeddings[-3:], np.array([1.0, 5.0, 30.0])
    for norm in ("cosine", "snorm"):
        np.testing.assert_allclose(gallery.scores(probes, norm, "best"), gallery.scores(probes, norm, "mean"), atol=1e-5)
    np.testing.assert_allclose(gallery.llrs(probes, seconds, "best"), gallery.llrs(probes, seconds, "mean"), atol=1e-4)


def test_posteriors_are_bayes_rule():
    ratios, prior = np.array([2.0, -1.0, 0.5]), 0.2
    likelihoods = np.append(np.exp(ratios) * prior / 3, 1 - prior)
    np.testing.assert_allclose(posteriors(ratios, prior), likelihoods / likelihoods.sum())


def test_identify_decides_by_the_most_probable_and_says_how_sure(calibrated, model, experiment, tmp_path, capsys):
    import json

    people = sorted(set(experiment.speakers))
    mine = {person: [name for name in experiment.utterances if name.startswith(f"{person}/")] for person in people}
    base = ["--model", str(calibrated), "--device", "cpu", "--threads", "1", "--gallery", str(tmp_path / "g.parquet")]
    for person in people[:3]:
        assert main(["enroll", *base, "--speaker", person, *map(str, map(recording, mine[person][:2]))]) == 0
    capsys.readouterr()
    known, stranger = recording(mine[people[0]][0]), recording(mine[people[5]][0])
    statuses = {}
    for name, path, prior in (("known", known, "0.999"), ("nobody", stranger, "1e-9")):
        statuses[name] = main(["identify", *base, str(path), "--prior", prior, "--json"])
        found = json.loads(capsys.readouterr().out)
        (row,) = found["identified"]
        gallery = Gallery.open(tmp_path / "g.parquet", model)
        (voice,) = model.embed_files([str(path)])
        ratios = gallery.llrs(voice.embedding[None], np.array([voice.seconds]))[0]
        expected = posteriors(ratios, float(prior))
        assert row["unknown"] == pytest.approx(expected[-1], rel=1e-3, abs=1e-9)
        assert row["probability"] == pytest.approx(expected.max(), rel=1e-3)
        assert row["speaker"] == [*gallery.speakers, None][int(expected.argmax())]
        assert found["decided"] is True and "most probable" in found["meaning"]
    assert statuses == {"known": 0, "nobody": 1}
    assert main(["identify", *base, str(known)]) in (0, 1) and "probability" in capsys.readouterr().out
    assert main(["identify", *base, str(known), "--prior", "1"]) == 2


def test_recordings_are_listed_and_removed_one_by_one(calibrated, model, experiment, tmp_path, capsys):
    gallery = gallery_of(model, experiment)
    gallery.save(tmp_path / "g.parquet")
    first, second, third = gallery.speakers
    base = ["enroll", "--model", str(calibrated), "--device", "cpu", "--threads", "1", "--gallery", str(tmp_path / "g.parquet")]
    assert main([*base, "--list"]) == 0
    assert f"{second}: {', '.join(gallery.recordings(second))}" in capsys.readouterr().out.splitlines()
    gone = gallery.recordings(second)[1]
    assert main([*base, "--remove", second, "--recording", gone]) == 0
    left = pd.read_parquet(tmp_path / "g.parquet")
    assert set(zip(left["speaker"], left["recording"], strict=True)) == {
        (speaker, name) for speaker in (first, second, third) for name in gallery.recordings(speaker) if (speaker, name) != (second, gone)
    }
    capsys.readouterr()
    assert main([*base, "--remove", second, "--recording", gone]) == 2
    assert f"no recording called '{gone}'" in capsys.readouterr().err
    assert main([*base, "--recording", gone, "--list"]) == 2


def test_what_another_program_adds_meanwhile_is_not_lost(model, experiment, tmp_path):
    path = tmp_path / "g.parquet"
    gallery_of(model, experiment).save(path)
    mine, other = Gallery.open(path, model), Gallery.open(path, model)
    other.add("Ada", "new", "x", experiment.embeddings[0])
    other.save(path)
    mine.add("Eve", "new", "y", experiment.embeddings[1])
    with pytest.raises(selfsv.InputError, match="changed by another program"):
        mine.save(path)
    assert "Ada" in Gallery.open(path, model).speakers
    with pytest.raises(selfsv.InputError, match="changed by another program"):
        gallery_of(model, experiment).save(path)  # made where there was none
    other.add("Bob", "new", "z", experiment.embeddings[2])
    other.save(path)  # twice by the same one
    assert {"Ada", "Bob"} < set(Gallery.open(path, model).speakers)
