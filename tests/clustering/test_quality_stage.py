"""The stage `quality` on files, with and without known speakers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfsv.artifacts import read_table, write_table


@pytest.mark.parametrize("known", [6, 0])
def test_the_stage_writes_one_row(tmp_path, known):
    names = [f"u{index}" for index in range(8)]
    labels, output = tmp_path / "iter_2" / "pseudo_labels.parquet", tmp_path / "iter_2" / "cluster_quality.parquet"
    write_table(labels, pd.DataFrame({"utterance": names, "label": np.array([0, 0, 0, 2, 2, 2, 2, 3], np.int32), "similarity": 1.0}))
    speakers = pd.DataFrame({"utterance": names[:known], "speaker": ["a", "a", "a", "b", "b", "b"][:known]}, dtype=str)
    write_table(tmp_path / "speakers.parquet", speakers)
    options = ["--pseudo-labels", labels, "--speakers", tmp_path / "speakers.parquet", "--output", output]
    subprocess.run([sys.executable, "-m", "pipeline.quality", *map(str, options)], check=True, cwd=Path(__file__).parents[2])
    row = read_table(output).iloc[0]
    expected = {"system": "iter_2", "clusters": 4, "largest": 4, "smallest": 0, "empty": 1, "utterances_with_speaker": known}
    assert {name: row[name] for name in expected} == expected
    assert (row["nmi"], row["purity"]) == (pytest.approx(1), 1) if known else row[["nmi", "purity"]].isna().all()
