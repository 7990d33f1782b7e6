"""The stage `diagnose` on files: a row whose answers are known, what may be left out, and what is refused."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import diagnose
from pipeline.extract_parts import part_table
from selfsv.artifacts import read_arrow, read_table, write_embeddings, write_table
from selfsv.errors import InputError

SPEAKERS, EACH, DIMENSIONS = 4, 12, 16
NAMES = np.array([f"s{number // EACH}/{number:03d}" for number in range(SPEAKERS * EACH)], object)
LABELS = np.repeat(np.arange(SPEAKERS), EACH)
SETTINGS = '{"cluster": {"iterations": 25, "restarts": 60, "points_per_cluster": 256}, "score": {"cohort_top": 4}}'


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    """A round in which every session is a speaker and a cluster of its own, far from the others."""
    folder = tmp_path / "iter_1"
    files = {name.replace("_", "-"): folder / f"{name}.parquet" for name in ("embeddings", "pseudo_labels", "parts", "gate", "output")}
    files |= {"manifest": tmp_path / "manifest.parquet", "previous-labels": tmp_path / "iter_0" / "pseudo_labels.parquet"}
    rng = np.random.default_rng(0)
    voices = np.eye(SPEAKERS, DIMENSIONS)[LABELS]
    noisy = [(voices + 0.02 * rng.normal(size=voices.shape)).astype(np.float32) for _ in range(3)]
    write_embeddings(files["embeddings"], NAMES, noisy[0])
    parts = part_table(np.tile(NAMES[::-1], 2), np.repeat([1, 0], len(NAMES)), np.concatenate([part[::-1] for part in noisy[1:]]))
    write_table(files["parts"], parts)
    write_table(files["pseudo-labels"], pd.DataFrame({"utterance": NAMES, "label": (LABELS + 3) % SPEAKERS}))
    write_table(files["previous-labels"], pd.DataFrame({"utterance": NAMES[::-1], "label": LABELS[::-1]}))
    sessions = [name.partition("/")[0] for name in NAMES]
    rejected = pd.DataFrame({"utterance": ["broken"], "session": ["s9"]})
    write_table(files["manifest"], pd.concat([rejected, pd.DataFrame({"utterance": NAMES, "session": sessions})]))
    gate = [("face", 1, 0.1, 0.2, 0.7), ("audio", 1, 0.75, 0.2, 0.05), ("audio", 0, 1.0, 0.0, 0.0)]
    write_table(files["gate"], pd.DataFrame(gate, columns=["modality", "epoch", "reliable", "corrected", "dropped"]))
    return files


def diagnosed(monkeypatch: pytest.MonkeyPatch, files: dict[str, Path]) -> pd.Series:
    """The row that the stage writes."""
    options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    monkeypatch.setattr(sys, "argv", ["diagnose", "--settings", SETTINGS, "--threads", "1", *options])
    diagnose.main()
    [row] = [row for _, row in read_table(files["output"]).iterrows()]
    return row


def test_perfect_clusters_have_perfect_figures(monkeypatch, files):
    row = diagnosed(monkeypatch, files)
    assert row["system"] == "iter_1"
    assert (row["utterances"], row["sessions"], row["clusters"]) == (SPEAKERS * EACH, SPEAKERS, SPEAKERS)
    for rate in ("part_eer", "part_eer_snorm", "session_eer", "session_eer_snorm"):
        assert row[rate] == 0
    assert row["part_targets"] == SPEAKERS * EACH and row["session_targets"] == SPEAKERS * EACH * (EACH - 1) // 2
    for measure in ("session_ami", "session_nmi", "previous_ari", "previous_nmi", "resampling_ari"):
        assert row[measure] == pytest.approx(1)
    assert row["silhouette"] > 0.9 and row["effective_dimensions"] == pytest.approx(SPEAKERS - 1, rel=0.05)
    assert (row["gate_reliable"], row["gate_corrected"], row["gate_dropped"]) == (0.75, 0.2, 0.05)


def test_what_stage_one_lacks_is_left_empty(monkeypatch, files):
    full = diagnosed(monkeypatch, files)
    row = diagnosed(monkeypatch, {name: path for name, path in files.items() if name not in ("parts", "gate", "previous-labels")})
    empty = {name for name in row.index if pd.isna(row[name])}
    assert empty == {"part_eer", "part_eer_snorm", *(name for name in row.index if name.startswith(("gate_", "previous_")))}
    others = [name for name in row.index if name not in empty and not name.startswith("part_")]
    pd.testing.assert_series_equal(row[others], full[others])


def test_one_folder_for_all_recordings_leaves_sessions_out(monkeypatch, files):
    write_table(files["manifest"], read_table(files["manifest"]).assign(session=""))
    row = diagnosed(monkeypatch, files)
    assert row[["session_eer", "session_eer_snorm", "session_ami", "session_nmi"]].isna().all() and row["session_targets"] == 0
    assert 0 < row["part_eer"] < (EACH - 1) / (len(NAMES) - 1)  # the share of non-targets that are now of one speaker


def test_embeddings_that_know_nothing_are_doubted(monkeypatch, files, caplog):
    assert diagnosed(monkeypatch, files)["doubts"] == "" and not caplog.messages
    rng = np.random.default_rng(1)
    write_embeddings(files["embeddings"], NAMES, rng.normal(size=(len(NAMES), DIMENSIONS)).astype(np.float32))
    chance = rng.normal(size=(2 * len(NAMES), DIMENSIONS)).astype(np.float32)
    write_table(files["parts"], part_table(np.tile(NAMES, 2), np.repeat([0, 1], len(NAMES)), chance))
    row = diagnosed(monkeypatch, files)
    assert row["part_eer"] > 0.4 and row["resampling_ari"] < 0.25 and row["effective_dimensions"] > 5
    assert "hardly more alike" in row["doubts"] and "accident of the sample" in row["doubts"] and "one direction" not in row["doubts"]
    assert len(caplog.messages) == 2 and all("iter_1 may have learnt nothing: " in message for message in caplog.messages)
    line = rng.normal(size=(len(NAMES), 1)) * np.eye(1, DIMENSIONS) + 3
    write_embeddings(files["embeddings"], NAMES, line.astype(np.float32))
    assert "hardly more than one direction (1.00 " in diagnosed(monkeypatch, files)["doubts"]


def without_first(files: dict[str, Path], name: str) -> None:
    write_table(files[name], read_arrow(files[name])[1:])


def of_other_dimensions(files: dict[str, Path], name: str) -> None:
    write_table(files[name], part_table(np.tile(NAMES, 2), np.repeat([0, 1], len(NAMES)), np.ones((2 * len(NAMES), 3))))


def of_another_corpus(files: dict[str, Path], name: str) -> None:
    write_table(files[name], part_table(np.array(["elsewhere"] * 2), np.array([0, 1]), np.ones((2, DIMENSIONS))))


def twice(files: dict[str, Path], name: str) -> None:
    table = read_table(files[name])
    write_table(files[name], pd.concat([table, table.iloc[[-1]]]))


def of_faces_alone(files: dict[str, Path], name: str) -> None:
    write_table(files[name], read_table(files[name]).assign(modality="face"))


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("pseudo-labels", without_first, r"pseudo_labels\.parquet lacks 's0/000'"),
        ("previous-labels", without_first, r"iter_0.*pseudo_labels\.parquet lacks 's3/047'"),
        ("manifest", twice, r"manifest\.parquet has 's3/047' twice"),
        ("parts", without_first, r"parts\.parquet should hold a first and a last part"),
        ("parts", of_other_dimensions, r"parts\.parquet should hold .* 16 dimensions.*extract_parts"),
        ("parts", of_another_corpus, r"embeddings\.parquet lacks 'elsewhere'"),
        ("gate", of_faces_alone, r"gate\.parquet has no epoch of the gate on voices"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(monkeypatch, files, name, spoil, message):
    spoil(files, name)
    with pytest.raises(InputError, match=message):
        diagnosed(monkeypatch, files)
