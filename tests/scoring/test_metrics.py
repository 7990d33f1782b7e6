"""From embeddings to the printed table: the scripts `score` and `metrics`, called as the workflow calls them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfsv.artifacts import read_table, write_embeddings, write_table

SPEAKERS, EACH = 8, 6


def call(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"pipeline.{script}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Path:
    """Embeddings of talkers around their own centres, an offset common to all, and a trial list."""
    folder = tmp_path_factory.mktemp("experiment")
    generator = np.random.default_rng(0)
    speakers = np.repeat(np.arange(SPEAKERS), EACH)
    centres = generator.normal(size=(SPEAKERS, 24))
    names = pd.Series([f"id{speaker}/v/{index:05d}" for index, speaker in enumerate(speakers)])
    for system, noise in (("baseline_fbank", 3.0), ("iter_0", 1.0), ("iter_1", 0.5)):
        for corpus in ("train", "test"):
            embeddings = 4 + centres[speakers] + noise * generator.normal(size=(len(speakers), 24))
            write_embeddings(folder / system / "embeddings" / f"{corpus}.parquet", names, embeddings)
        labels = pd.DataFrame({"utterance": names, "label": speakers.astype(np.int32), "similarity": np.float32(1)})
        write_table(folder / system / "pseudo_labels.parquet", labels.sample(frac=1, random_state=1))
    lines = [f"{int(speakers[a] == speakers[b])} {names[a]}.wav {names[b]}.wav" for a in range(0, 48, 2) for b in range(1, 48, 2)]
    (folder / "trials.txt").write_text("\n".join(lines))
    return folder


def score(folder: Path, system: str, settings: str = "{}", trials: Path | None = None, *more: object) -> subprocess.CompletedProcess[str]:
    return call(
        "score",
        *("--settings", settings),
        *("--trials", trials or folder / "trials.txt"),
        *("--embeddings", folder / system / "embeddings" / "test.parquet"),
        *("--train-embeddings", folder / system / "embeddings" / "train.parquet"),
        *("--pseudo-labels", folder / system / "pseudo_labels.parquet"),
        *("--output", folder / system / "scores" / "demo.parquet"),
        *more,
    )


def test_from_embeddings_to_the_printed_table(experiment):
    systems = ("iter_1", "baseline_fbank", "iter_0")
    for system in systems:
        done = score(experiment, system, '{"cohort_top": 5, "subtract_mean": true}')
        assert done.returncode == 0, done.stderr
    scores = read_table(experiment / "iter_1" / "scores" / "demo.parquet")
    assert list(scores) == ["enroll", "test", "target", "cosine", "snorm"]
    assert scores["enroll"][0] == "id0/v/00000"
    assert (scores["target"].dtype, scores["cosine"].dtype, scores["snorm"].dtype) == (np.bool_, np.float32, np.float32)

    paths = [experiment / system / "scores" / "demo.parquet" for system in systems]
    done = call("metrics", "--settings", "{}", "--scores", *paths, "--output", experiment / "metrics.parquet")
    assert done.returncode == 0, done.stderr
    metrics = read_table(experiment / "metrics.parquet")
    assert list(metrics) == ["system", "iteration", "trials", "norm", "eer", "min_dcf", "targets", "nontargets"]
    assert metrics["system"].tolist() == ["baseline_fbank"] * 2 + ["iter_0"] * 2 + ["iter_1"] * 2
    assert metrics["iteration"].isna().tolist() == [True] * 2 + [False] * 4
    eer = metrics[metrics["norm"] == "cosine"].set_index("system")["eer"]
    assert eer["iter_1"] < eer["iter_0"] < eer["baseline_fbank"]
    places = [done.stdout.index(name) for name in ("demo: ", "fbank statistics", "CA-DINO", "DLG-LC round 1")]
    assert places == sorted(places)
    assert f"{100 * eer['iter_0']:.2f}" in done.stdout


def test_subtracting_the_mean_changes_scores(experiment):
    found = []
    for settings in ('{"subtract_mean": false}', '{"subtract_mean": true}'):
        assert score(experiment, "iter_0", settings).returncode == 0
        found.append(read_table(experiment / "iter_0" / "scores" / "demo.parquet")["cosine"].to_numpy())
    assert found[0].mean() > 0.8 > found[1].mean()  # the common offset makes everybody alike


def test_labels_of_other_utterances_are_refused(experiment, tmp_path):
    write_table(tmp_path / "labels.parquet", pd.DataFrame({"utterance": ["x"], "label": [0]}))
    done = score(experiment, "iter_0", "{}", None, "--pseudo-labels", tmp_path / "labels.parquet")
    assert done.returncode == 1
    assert "does not label every utterance" in done.stderr
