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
    manifest = {"utterance": names, "session": "v", "num_samples": 80_000}
    write_table(folder / "data" / "test" / "manifest.parquet", pd.DataFrame(manifest))
    write_table(folder / "data" / "test" / "speakers.parquet", pd.DataFrame({"utterance": names, "speaker": speakers.astype(str)}))
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


def measured(folder: Path, *systems: str, known: bool = True) -> tuple[pd.DataFrame, str]:
    """The metrics of scored systems, and the printed table."""
    paths = [folder / system / "scores" / "demo.parquet" for system in systems]
    done = call(
        "metrics",
        *("--settings", '{"corpora": {"demo": "test"}, "stage_one": "MoCo"}', "--scores", *paths),
        *(("--manifests", folder / "data" / "test" / "manifest.parquet") if known else ()),
        *(("--speakers", folder / "data" / "test" / "speakers.parquet") if known else ()),
        *(f"--{name.replace('_', '-')}={folder / name}-{len(systems)}.parquet" for name in ("comparisons", "det_bands", "conditions")),
        *("--output", output := folder / f"metrics-{'-'.join(systems)}-{known}.parquet"),
    )
    assert done.returncode == 0, done.stderr
    return read_table(output), done.stdout


@pytest.fixture(scope="module")
def scored(experiment) -> Path:
    """The experiment with scores of all three systems."""
    for system in ("baseline_fbank", "iter_0", "iter_1"):
        done = score(experiment, system, '{"cohort_top": 5, "subtract_mean": true}')
        assert done.returncode == 0, done.stderr
    return experiment


@pytest.fixture(scope="module")
def evaluated(scored) -> tuple[pd.DataFrame, str]:
    """The metrics of all three systems, and the printed table."""
    return measured(scored, "iter_1", "baseline_fbank", "iter_0")


def test_from_embeddings_to_the_printed_table(scored, evaluated):
    scores = read_table(scored / "iter_1" / "scores" / "demo.parquet")
    assert list(scores) == ["enroll", "test", "target", "cosine", "snorm"]
    assert scores["enroll"][0] == "id0/v/00000"
    assert (scores["target"].dtype, scores["cosine"].dtype, scores["snorm"].dtype) == (np.bool_, np.float32, np.float32)

    metrics, printed = evaluated
    before = ["system", "iteration", "trials", "norm", "eer", "min_dcf", "targets", "nontargets"]
    assert list(metrics)[: len(before)] == before
    assert metrics["system"].tolist() == ["baseline_fbank"] * 2 + ["iter_0"] * 2 + ["iter_1"] * 2
    assert metrics["iteration"].isna().tolist() == [True] * 2 + [False] * 4
    eer = metrics[metrics["norm"] == "cosine"].set_index("system")["eer"]
    assert eer["iter_1"] < eer["iter_0"] < eer["baseline_fbank"]
    places = [printed.index(name) for name in ("demo: ", "fbank statistics", "MoCo", "DLG-LC round 1")]
    assert places == sorted(places)
    assert f"{100 * eer['iter_0']:.2f}" in printed


def test_every_figure_has_an_interval_around_it(evaluated):
    metrics, printed = evaluated
    for measure in ("eer", "min_dcf", "min_dcf_p05"):
        low, high = metrics[f"{measure}_low"], metrics[f"{measure}_high"]
        known = low.notna()
        assert known.any() and (known == high.notna()).all()
        assert (low[known] < high[known]).all()
        if measure == "eer":
            assert metrics["eer"][known].between(low[known], high[known]).all()
    row = metrics[(metrics["system"] == "iter_0") & (metrics["norm"] == "cosine")].iloc[0]
    assert f"{100 * row['eer']:.2f} [{100 * row['eer_low']:.2f}, {100 * row['eer_high']:.2f}]" in printed
    assert f"resampling the {SPEAKERS} speakers" in printed
    assert set(zip(metrics["resampled"], metrics["units"], strict=True)) == {("speakers", SPEAKERS)}


def test_without_speakers_recordings_are_resampled_and_it_is_said(scored):
    metrics, printed = measured(scored, "iter_0", known=False)
    assert set(zip(metrics["resampled"], metrics["units"], strict=True)) == {("recordings", SPEAKERS * EACH)}
    assert f"resampling the {SPEAKERS * EACH} recordings, as neither speakers nor sessions are known" in printed


def test_differences_are_paired_and_shown_where_their_interval_leaves_zero_out(scored, evaluated):
    metrics = evaluated[0].set_index(["system", "norm"])
    comparisons = read_table(scored / "comparisons-3.parquet")
    assert len(comparisons) == 3 * 2 * 3  # pairs, norms, measures
    for row in comparisons.itertuples():
        one, other = (metrics.loc[(system, row.norm), row.measure] for system in (row.system_a, row.system_b))
        assert row.difference == pytest.approx(one - other)
        assert row.shown == (row.low > 0 or row.high < 0)
    eer = comparisons[(comparisons["measure"] == "eer") & (comparisons["norm"] == "cosine")].set_index(["system_a", "system_b"])
    assert eer.loc[("iter_1", "baseline_fbank"), "shown"] and eer.loc[("iter_1", "baseline_fbank"), "high"] < 0
    # The same voices in the same draws: a difference is known better than the two figures that it is between.
    widths = metrics["eer_high"] - metrics["eer_low"]
    apart = np.hypot(widths["iter_0", "cosine"], widths["baseline_fbank", "cosine"])
    assert eer.loc[("iter_0", "baseline_fbank"), "high"] - eer.loc[("iter_0", "baseline_fbank"), "low"] < apart


def test_scores_of_other_trials_are_refused(scored, tmp_path):
    other = tmp_path / "iter_2" / "scores" / "demo.parquet"
    table = read_table(scored / "iter_1" / "scores" / "demo.parquet")
    write_table(other, table.assign(test=table["test"].where(table.index != 7, "id0/v/other")))
    outputs = [f"--{name}={tmp_path / name}.parquet" for name in ("comparisons", "det-bands", "conditions", "output")]
    done = call("metrics", "--settings", "{}", "--scores", scored / "iter_1" / "scores" / "demo.parquet", other, *outputs)
    assert done.returncode == 1
    assert "hold different trials, first in row 8" in done.stderr and "id0/v/other" in done.stderr


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
