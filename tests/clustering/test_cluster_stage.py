"""The stage `cluster` on files: clusters that nothing belongs to are said."""

import sys

import numpy as np
import pytest

from pipeline import cluster
from selfsv.artifacts import read_table, write_embeddings


def clustered(monkeypatch, folder, embeddings: np.ndarray, clusters: int) -> np.ndarray:
    """The labels that the stage writes."""
    names = np.array([f"u{number:03d}" for number in range(len(embeddings))], object)
    write_embeddings(folder / "e.parquet", names, embeddings)
    settings = f'{{"clusters": {clusters}, "subtract_mean": false}}'
    options = ["--settings", settings, "--seed", "1", "--embeddings", str(folder / "e.parquet"), "--output", str(folder / "l.parquet")]
    monkeypatch.setattr(sys, "argv", ["cluster", *options, "--threads", "1"])
    cluster.main()
    return read_table(folder / "l.parquet")["label"].to_numpy()


@pytest.mark.parametrize(("distinct", "copies", "clusters"), [(1, 12, 5), (3, 4, 5)])
def test_fewer_distinct_utterances_than_clusters_are_said(tmp_path, monkeypatch, caplog, distinct, copies, clusters):
    directions = np.random.default_rng(0).normal(size=(distinct, 16)).astype(np.float32)
    embeddings = np.repeat(directions, copies, axis=0)
    embeddings *= 1 + 1e-6 * np.random.default_rng(1).normal(size=embeddings.shape).astype(np.float32)  # as other batches round
    labels = clustered(monkeypatch, tmp_path, embeddings, clusters)
    assert f"{len(set(labels))} of {clusters} clusters have members; {len(labels)} of {len(labels)} utterances are identical" in caplog.text
    assert "remove copies" in caplog.text


def test_full_clusters_are_no_news(tmp_path, monkeypatch, caplog):
    embeddings = np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32)
    assert len(set(clustered(monkeypatch, tmp_path, embeddings, 5))) == 5
    assert "clusters have members" not in caplog.text
