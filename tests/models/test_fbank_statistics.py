"""Whitened fbank statistics: the whitening against scikit-learn's, and its way through the baseline's script and file."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from selfsv.artifacts import write_embeddings
from selfsv.models.fbank_statistics import FbankStatistics, WhitenedFbankStatistics, whitening
from selfsv.models.model_file import load_model
from selfsv.settings.audio import FeatureSettings
from selfsv.settings.encoder import EncoderSettings
from selfsv.settings.jobs import BaselineJob
from tests.conftest import REPOSITORY


def correlated(rows: int, dimensions: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    turn, _ = np.linalg.qr(generator.normal(size=(dimensions, dimensions)))
    return (3 + generator.normal(size=(rows, dimensions)) * np.geomspace(1, 20, dimensions) @ turn).astype(np.float32)


def test_the_whitening_is_that_of_scikit_learn_but_for_signs_and_scale():
    embeddings = correlated(400, 12)
    weights = whitening(embeddings)
    found = (embeddings - weights["mean"].numpy()) @ weights["turn"].numpy()
    expected = PCA(whiten=True).fit_transform(embeddings)[:, ::-1]
    np.testing.assert_allclose(found.std(axis=0) / found.std(axis=0)[0], 1, rtol=1e-3)
    # Inner products are what cosines are made of, and do not depend on signs.
    np.testing.assert_allclose(found @ found.T / np.square(found).mean(), expected @ expected.T / np.square(expected).mean(), atol=1e-3)


def test_a_direction_that_hardly_varies_is_not_blown_up():
    embeddings = correlated(400, 6)
    embeddings[:, 2] = 1.0
    weights = whitening(embeddings)
    found = (embeddings - weights["mean"].numpy()) @ weights["turn"].numpy()
    assert found[:, 0].std() < 1e-3 * found[:, -1].std() and np.isfinite(found).all()


@pytest.fixture
def job() -> BaselineJob:
    return BaselineJob(seed=1, features=FeatureSettings(mel_bins=24), encoder=EncoderSettings(channels=8))


def test_the_baseline_whitens_the_statistics_of_an_utterance(tmp_path, job):
    embeddings = correlated(300, 48)
    write_embeddings(tmp_path / "train.parquet", np.array([str(row) for row in range(300)]), embeddings)
    options = ["--settings", job.to_json(), "--kind", "whitened", "--model", str(tmp_path / "model.pt")]
    command = [sys.executable, "-m", "pipeline.baseline", *options]
    failed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert failed.returncode == 1 and "name them with --embeddings" in failed.stderr
    subprocess.run([*command, "--embeddings", str(tmp_path / "train.parquet")], cwd=REPOSITORY, check=True)

    model = load_model(tmp_path / "model.pt")
    assert isinstance(model.encoder, WhitenedFbankStatistics) and model.encoder_settings is None
    assert not model.feature_settings.mean_normalise
    features = torch.randn(2, 50, 24)
    mean, turn = whitening(embeddings).values()
    torch.testing.assert_close(model.encoder(features), (FbankStatistics()(features) - mean) @ turn)
