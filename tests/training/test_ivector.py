"""The training of i-vectors: against scikit-learn, scipy and plain loops, on simulated data, and on real voices."""

import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import subspace_angles
from scipy.stats import multivariate_normal
from sklearn.decomposition import FactorAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from torch import Tensor

from pipeline import extract, ivector
from selfsv.artifacts import load_torch, read_embeddings
from selfsv.errors import InputError, TrainingError
from selfsv.methods.ivector import Statistics, em_step, expectation, fit_factors, fit_gaussians, random_factors
from selfsv.models.ivector import Factors, Gaussians, IvectorExtractor, unpacked
from selfsv.models.model_file import load_model
from selfsv.settings.ivector import CepstraSettings, ExtractorSettings
from selfsv.settings.jobs import IvectorJob

GENERATOR = np.random.default_rng(0)
CENTRES = np.array([[0.0, 0, 0], [4, 0, 1], [0, 5, -2]])


@pytest.fixture(scope="module")
def frames() -> Tensor:
    """[3000, 3] float64 from three Gaussians of different width."""
    which = GENERATOR.choice(3, size=3000, p=[0.5, 0.3, 0.2])
    return torch.from_numpy(CENTRES[which] + GENERATOR.normal(size=(3000, 3)) * np.array([0.5, 1.0, 1.5])[which, None])


def start() -> Gaussians:
    """Means that are not the centres."""
    return Gaussians(torch.full((3,), 1 / 3, dtype=torch.float64), torch.from_numpy(CENTRES + 0.7), torch.full((3, 3), 2.0).double())


def sklearns(steps: int, frames: Tensor) -> GaussianMixture:
    """After so many steps from the same start."""
    weights, means, variances = (value.numpy() for value in start())
    options = {"weights_init": weights, "means_init": means, "precisions_init": 1 / variances}
    mixture = GaussianMixture(3, covariance_type="diag", reg_covar=0, tol=0, max_iter=steps, **options)
    return mixture.fit(frames.numpy())


@pytest.mark.parametrize("steps", [1, 40])
@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_em_is_scikit_learns(frames, steps):
    mixture = start()
    for _ in range(steps):
        mixture, likelihood = em_step(mixture, frames)
    expected = sklearns(steps, frames)
    for found, values in zip(mixture, (expected.weights_, expected.means_, expected.covariances_), strict=True):
        np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-6)
    assert likelihood == pytest.approx(expected.lower_bound_, rel=1e-6)


def test_em_does_not_depend_on_the_parts_that_frames_are_seen_in(frames, monkeypatch):
    whole, likelihood = em_step(start(), frames)
    monkeypatch.setattr("selfsv.methods.ivector.POSTERIORS_AT_ONCE", 3 * 701)
    parts, again = em_step(start(), frames)
    assert likelihood == pytest.approx(again)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other)


def test_kmeans_and_em_find_the_gaussians(frames):
    mixture = fit_gaussians(frames.float(), 3, 30, seed=1)
    order = [int(np.linalg.norm(mixture.means.numpy() - centre, axis=1).argmin()) for centre in CENTRES]
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(mixture.means[order], CENTRES, atol=0.25)
    np.testing.assert_allclose(mixture.weights[order], [0.5, 0.3, 0.2], atol=0.05)


def test_more_gaussians_than_frames_are_refused(frames):
    with pytest.raises(InputError, match=r"ivector\.components is 9, but there are only 8 frames"):
        fit_gaussians(frames[:8].float(), 9, 1, seed=1)


# Factors ----------------------------------------------------------------------------------------------------------------


def simulated(utterances: int, gaussians: int, dimensions: int, size: int, length: int) -> tuple[Factors, Tensor, Tensor]:
    """A model, frames [B, T, D] drawn from it, and which Gaussian each is of, as posteriors [B, T, C]."""
    loadings = GENERATOR.normal(size=(gaussians, dimensions, size))
    means, variances = GENERATOR.normal(size=(gaussians, dimensions)), GENERATOR.uniform(0.5, 2, size=(gaussians, dimensions))
    which = GENERATOR.integers(gaussians, size=(utterances, length))
    shifts = np.einsum("cde,be->bcd", loadings, GENERATOR.normal(size=(utterances, size)))
    drawn = means[which] + np.take_along_axis(shifts, which[:, :, None], axis=1)
    drawn += np.sqrt(variances[which]) * GENERATOR.normal(size=drawn.shape)
    posteriors = np.eye(gaussians)[which]
    return Factors(*map(torch.from_numpy, (means, loadings, variances))), torch.from_numpy(drawn), torch.from_numpy(posteriors)


def beginning(frames: Tensor, posteriors: Tensor, size: int) -> Factors:
    """The start of a training: the Gaussians as they are without factors."""
    counts = posteriors.sum(dim=(0, 1)).unsqueeze(1)
    means = torch.einsum("btc,btd->cd", posteriors, frames) / counts
    variances = torch.einsum("btc,btd->cd", posteriors, frames.square()) / counts - means.square()
    return random_factors(Gaussians(counts.flatten() / counts.sum(), means, variances), size, seed=1)


def trained(factors: Factors, frames: Tensor, posteriors: Tensor, iterations: int) -> tuple[Factors, list[float]]:
    """With the likelihood before each iteration."""
    likelihoods = []
    for _ in range(iterations):
        statistics = Statistics(factors).add(frames, posteriors)
        likelihoods.append(statistics.likelihood())
        factors = statistics.updated()
    return factors, likelihoods


def test_an_iteration_is_that_of_a_plain_loop():
    """Utterances in two batches with soft posteriors, against the formulas of Dehak et al. one utterance after the other."""
    _, frames, _ = simulated(12, 3, 4, 2, 9)
    posteriors = torch.from_numpy(GENERATOR.dirichlet(np.ones(3), size=(12, 9)))
    factors = beginning(frames, posteriors, 2)
    found = Statistics(factors).add(frames[:5], posteriors[:5]).add(frames[5:], posteriors[5:]).updated()

    means, loadings, variances = (value.numpy() for value in factors)
    left, cross, counts, scatter = np.zeros((3, 2, 2)), np.zeros((3, 4, 2)), np.zeros(3), np.zeros((3, 4))
    first, second = np.zeros(2), np.zeros((2, 2))
    for utterance, shares in zip(frames.numpy(), posteriors.numpy(), strict=True):
        of_gaussian = shares.sum(axis=0)
        centred = np.stack([shares[:, c] @ (utterance - means[c]) for c in range(3)])
        scatter += np.stack([shares[:, c] @ (utterance - means[c]) ** 2 for c in range(3)])
        precision = np.eye(2) + sum(of_gaussian[c] * loadings[c].T @ np.diag(1 / variances[c]) @ loadings[c] for c in range(3))
        covariance = np.linalg.inv(precision)
        mean = covariance @ sum(loadings[c].T @ np.diag(1 / variances[c]) @ centred[c] for c in range(3))
        moment = covariance + np.outer(mean, mean)
        left += of_gaussian[:, None, None] * moment
        cross += centred[:, :, None] * mean
        counts, first, second = counts + of_gaussian, first + mean / 12, second + moment / 12
    updated = np.stack([cross[c] @ np.linalg.inv(left[c]) for c in range(3)])
    residual = np.stack([(scatter[c] - np.diag(updated[c] @ cross[c].T)) / counts[c] for c in range(3)])
    root = np.linalg.cholesky(second - np.outer(first, first))
    expected = (means + updated @ first, updated @ root, residual)
    for value, plain in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, plain, rtol=1e-8, atol=1e-10)


def test_the_likelihood_is_that_of_one_large_normal_distribution():
    """An utterance's frames of one Gaussian share its factors, so that they are jointly normal."""
    factors, frames, posteriors = simulated(20, 1, 3, 2, 4)
    mean, shared = factors.means[0].numpy(), (factors.loadings[0] @ factors.loadings[0].T).numpy()
    covariance = np.kron(np.ones((4, 4)), shared) + np.kron(np.eye(4), np.diag(factors.variances[0]))
    expected = multivariate_normal(np.tile(mean, 4), covariance).logpdf(frames.flatten(1).numpy()).sum() / 80
    assert Statistics(factors).add(frames, posteriors).likelihood() == pytest.approx(expected, rel=1e-9)


def test_one_gaussian_and_one_frame_are_scikit_learns_factor_analysis():
    """The posterior for its parameters, and the likelihood to which the training leads."""
    _, frames, posteriors = simulated(1500, 1, 6, 2, 1)
    rows = frames[:, 0].numpy()
    reference = FactorAnalysis(2, tol=1e-9, max_iter=20_000, svd_method="lapack").fit(rows)
    values = (reference.mean_[None], reference.components_.T[None], reference.noise_variance_[None])
    factors = Factors(*map(torch.tensor, values))
    equations = factors.equations(factors.grams(), torch.ones(1500, 1).double(), factors.centred(posteriors.sum(dim=1), frames))
    np.testing.assert_allclose(expectation(*equations)[0], reference.transform(rows), atol=1e-8)
    assert Statistics(factors).add(frames, posteriors).likelihood() == pytest.approx(reference.score(rows), rel=1e-9)
    _, likelihoods = trained(beginning(frames, posteriors, 2), frames, posteriors, 800)
    assert likelihoods[-1] == pytest.approx(reference.score(rows), abs=1e-4)


def test_the_likelihood_never_falls():
    _, frames, posteriors = simulated(60, 4, 5, 3, 20)
    _, likelihoods = trained(beginning(frames, posteriors, 3), frames, posteriors, 40)
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(likelihoods))
    assert likelihoods[-1] > likelihoods[0] + 0.01


def test_the_loadings_are_found_but_for_a_rotation():
    factors, frames, posteriors = simulated(800, 3, 5, 2, 60)
    found, _ = trained(beginning(frames, posteriors, 2), frames, posteriors, 30)
    true, learnt = (value.loadings.flatten(0, 1).numpy() for value in (factors, found))
    assert np.degrees(subspace_angles(true, learnt)).max() < 3
    np.testing.assert_allclose(learnt @ learnt.T, true @ true.T, atol=0.12 * np.abs(true @ true.T).max())
    np.testing.assert_allclose(found.variances, factors.variances, rtol=0.06)


def test_factors_of_the_training_corpus_are_standard_normal():
    """What the minimum divergence step is for, in the end."""
    _, frames, posteriors = simulated(200, 3, 5, 2, 60)
    found, _ = trained(beginning(frames, posteriors, 2), frames, posteriors, 30)
    statistics = Statistics(found).add(frames, posteriors)
    torch.testing.assert_close(statistics.mean / 200, torch.zeros(2).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(unpacked(statistics.second / 200, 2), torch.eye(2).double(), atol=1e-2, rtol=0)


def test_a_gaussian_without_frames_stays_as_it_is():
    _, frames, posteriors = simulated(50, 3, 4, 2, 20)
    posteriors[:, :, 0] += posteriors[:, :, 2]
    factors = beginning(frames, posteriors[:, :, :2], 2)
    factors = Factors(*(torch.cat([value, value[:1]]) for value in factors))
    posteriors[:, :, 2] = 0
    found, likelihoods = trained(factors, frames, posteriors, 1)
    assert all(value.isfinite().all() for value in found) and np.isfinite(likelihoods[0])
    torch.testing.assert_close(found.variances[2], factors.variances[2])


def test_statistics_that_are_not_finite_end_the_training():
    extractor = IvectorExtractor(ExtractorSettings(components=2, embedding=3, cepstra=CepstraSettings(coefficients=4)), 20)
    features = torch.randn(2, 30, 20)
    features[1, 7] = float("nan")
    with pytest.raises(TrainingError, match=r"total variability, iteration 1: .* check the audio"):
        fit_factors(extractor, lambda title: [(features, torch.tensor([30, 30]))], 1, seed=1)


# The stage --------------------------------------------------------------------------------------------------------------


def job(**changes: int) -> IvectorJob:
    sizes = {"components": 16, "embedding": 12, "ubm_iterations": 5, "iterations": 4, **changes}
    return IvectorJob.model_validate({"seed": 1, "features": {}, "ivector": sizes})


def run(monkeypatch: pytest.MonkeyPatch, stage: object, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", *map(str, arguments), "--device", "cpu", "--threads", "1"])
    stage.main()  # type: ignore[attr-defined]


def test_real_voices_are_told_apart(packed, tmp_path, monkeypatch):
    """Six talkers, four utterances each; the model is the same in a second run, its embeddings those of the stage `extract`."""
    corpus = ["--manifest", packed.paths[0], "--audio", *packed.paths[1]]
    for name in ("one", "two"):
        run(monkeypatch, ivector, "--settings", job().to_json(), *corpus, "--model", tmp_path / f"{name}.pt")
    one, two = (load_torch(tmp_path / f"{name}.pt") for name in ("one", "two"))
    assert all(torch.equal(one["weights"][name], two["weights"][name]) for name in one["weights"])
    assert one["provenance"]["stage"] == "ivector" and one["features"]["mean_normalise"] is False
    run(monkeypatch, extract, "--model", tmp_path / "one.pt", *corpus, "--output", tmp_path / "train.parquet")
    utterances, embeddings = read_embeddings(tmp_path / "train.parquet")
    assert embeddings.shape == (24, 12) and list(utterances) == list(pd.read_parquet(packed.paths[0])["utterance"])
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    first, second = np.triu_indices(24, 1)
    same = np.array(packed.speakers)[first] == np.array(packed.speakers)[second]
    assert roc_auc_score(same, (unit @ unit.T)[first, second]) > 0.75
    assert load_model(tmp_path / "one.pt").encoder.title == "i-vector of 16 Gaussians"


def test_the_longest_utterances_are_trained_on(packed, tmp_path, monkeypatch):
    """Six of 24: the model is that of a corpus of these alone."""
    manifest = pd.read_parquet(packed.paths[0])
    longest = manifest["num_samples"].rank(method="first", ascending=False) <= 6
    manifest.assign(status=np.where(longest, "ok", "rejected")).to_parquet(tmp_path / "manifest.parquet")
    weights = []
    for path in (packed.paths[0], tmp_path / "manifest.parquet"):
        run(monkeypatch, ivector, "--settings", job(utterances=6).to_json(), "--manifest", path, "--audio", *packed.paths[1],
            "--model", tmp_path / "model.pt")  # fmt: skip
        weights.append(load_torch(tmp_path / "model.pt")["weights"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
