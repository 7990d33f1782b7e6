"""The rank correlations of measures without labels with error rates, on a small tree of experiments that is made for it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from benchmarks import unlabelled_evidence as evidence
from selfsv.artifacts import read_table, write_table
from selfsv.errors import InputError
from tests.conftest import REPOSITORY

SYSTEMS, SEEDS, ITERATIONS = 6, 2, 3


@pytest.fixture
def tree(tmp_path) -> Path:
    """Experiments whose EER grows with `part_eer` and falls with the AMI, and has nothing to do with the silhouette."""
    rng = np.random.default_rng(0)
    for number in range(SYSTEMS):
        for seed in range(SEEDS):
            folder = tmp_path / "results" / f"system{number}-{seed}"
            rates = 0.3 - 0.03 * number + 0.02 * rng.random(ITERATIONS)
            metrics = [(f"iter_{i}", i, "demo", norm, rate) for i, rate in enumerate(rates) for norm in ("cosine", "snorm")]
            metrics.append(("baseline_fbank", None, "demo", "cosine", 0.45))
            write_table(folder / "metrics.parquet", pd.DataFrame(metrics, columns=["system", "iteration", "trials", "norm", "eer"]))
            settings = {"experiment": folder.name, "seed": seed, "runtime": {"gpus": seed}, "pretrain": {"batch_size": 2**number}}
            folder.joinpath("settings.json").write_text(json.dumps(settings))
            for i, rate in enumerate(rates):
                measures = {"part_eer": rate**2, "session_ami": 1 - rate, "silhouette": rng.random(), "resampling_ari": 0.5}
                gate = {"gate_reliable": 1 - rate if i else np.nan}
                write_table(folder / f"iter_{i}" / "diagnosis.parquet", pd.DataFrame([{"system": f"iter_{i}", **measures, **gate}]))
                write_table(folder / f"iter_{i}" / "cluster_quality.parquet", pd.DataFrame([{"nmi": 0.9 - rate}]))
    return tmp_path / "results"


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(evidence, "DRAWS", 50)


def test_points_are_iterations_and_seeds_are_one_system(tree):
    found = evidence.points([tree], None, "cosine")
    assert len(found) == SYSTEMS * SEEDS * ITERATIONS and found["run"].nunique() == SYSTEMS * SEEDS
    assert found["group"].nunique() == SYSTEMS
    assert set(found["iteration"]) == {0, 1, 2}
    pd.testing.assert_frame_equal(evidence.points([tree / "system0-0", tree], None, "cosine"), found)  # none twice


def test_correlations_are_those_of_ranks(tree, few_draws):
    found = evidence.points([tree], None, "cosine")
    table = evidence.correlations(found).set_index(["measure", "iterations"])
    for measure, rho in {"part_eer": 1, "session_ami": -1, "nmi": -1}.items():
        assert table.loc[(measure, "all"), ["rho", "low", "high"]].tolist() == pytest.approx([rho] * 3)
        assert table.loc[(measure, "all"), "eer_of_its_best"] == found["eer"].min()
    for subset, part in {"all": found, "stage I": found[found["iteration"] == 0], "rounds": found[found["iteration"] > 0]}.items():
        row = table.loc[("silhouette", subset)]
        assert row["points"] == len(part) and row["systems"] == SYSTEMS
        assert row["rho"] == pytest.approx(np.corrcoef(rankdata(part["silhouette"]), rankdata(part["eer"]))[0, 1])
        assert -1 <= row["low"] < row["rho"] < row["high"] <= 1
    assert table.loc[("gate_reliable", "all"), "points"] == SYSTEMS * SEEDS * 2 and table.loc[("gate_reliable", "stage I"), "points"] == 0
    assert np.isnan(table.loc[("resampling_ari", "all"), "rho"])  # constant


def test_an_interval_resamples_systems_and_not_points(few_draws):
    """Copies of every point narrow nothing."""
    rng = np.random.default_rng(1)
    part = pd.DataFrame({"m": rng.random(8), "eer": rng.random(8), "group": list("abcdefgh")})
    copies = pd.concat([part] * 5)
    assert evidence.rank_correlation(copies, "m") == pytest.approx(evidence.rank_correlation(part, "m"))


def test_two_systems_have_no_interval(tree, few_draws):
    found = evidence.points([tree / "system0-0", tree / "system1-0"], None, "cosine")
    row = evidence.correlations(found).set_index(["measure", "iterations"]).loc[("part_eer", "all")]
    assert row["rho"] == pytest.approx(1) and np.isnan(row["low"])


def test_what_is_missing_or_not_clear_is_said(tree, tmp_path):
    with pytest.raises(InputError, match=r"no experiment with metrics\.parquet"):
        evidence.points([tmp_path / "nowhere"], None, "cosine")
    with pytest.raises(InputError, match=r"no experiment has the trial list 'vox' \(there are demo\)"):
        evidence.points([tree], "vox", "cosine")
    metrics = read_table(tree / "system0-0" / "metrics.parquet")
    write_table(tree / "system0-0" / "metrics.parquet", pd.concat([metrics, metrics.assign(trials="vox")]))
    with pytest.raises(InputError, match=r"choose one with --trials \(demo, vox\)"):
        evidence.points([tree], None, "cosine")
    (tree / "system1-0" / "metrics.parquet").unlink()
    assert len(evidence.points([tree], "demo", "cosine")) == (SYSTEMS * SEEDS - 1) * ITERATIONS


def test_the_script_prints_a_table_and_writes_the_figures(tree, tmp_path):
    output = tmp_path / "evidence.parquet"
    runs = [str(tree / f"system{number}-0") for number in range(4)]
    command = [sys.executable, "benchmarks/unlabelled_evidence.py", *runs, "--norm", "snorm", "--output", str(output)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("12 iterations of 4 runs of 4 systems; EER, snorm: ")
    assert "| part_eer | + | +1.00 (+1.00 to +1.00), n = 12 |" in done.stdout
    assert len({line.count("|") for line in done.stdout.splitlines() if line.startswith("|")}) == 1
    assert set(read_table(output)["measure"]) == set(evidence.MEASURES)
