"""The training of an i-vector extractor by expectation maximisation (Dehak et al. 2011), without labels and without gradients.

First the universal background model (UBM), a Gaussian mixture of single frames; then the total variability matrix, given which frames
belong to which Gaussian of the UBM. The second model's statistics of a whole corpus would fill a disk: each iteration computes them
anew, batch by batch.
"""

import logging
import math
from collections.abc import Callable, Iterable
from typing import Self

import faiss
import numpy as np
import torch
from torch import Tensor

from selfsv.data.corpus import PackedCorpus
from selfsv.data.features import LogMel
from selfsv.engine.extraction import by_length, feature_batches, pieces_of, samples_per_batch
from selfsv.engine.runtime import Runtime
from selfsv.errors import InputError, TrainingError
from selfsv.models.ivector import COMPONENTS_AT_ONCE, Factors, Gaussians, IvectorExtractor, unpacked
from selfsv.progress import progress
from selfsv.settings.ivector import ExtractorSettings
from selfsv.settings.jobs import IvectorJob

log = logging.getLogger(__name__)
Batches = Callable[[str], Iterable[tuple[Tensor, Tensor]]]  # features and numbers of frames, under a title for the progress
VARIANCE_FLOOR = 1e-3  # of a Gaussian, as a share of that of all frames
LOADING_SCALE = 0.1  # of the random start, in standard deviations
FRAMES_TO_KMEANS = 256  # per Gaussian
POSTERIORS_AT_ONCE = 2**25


@torch.no_grad()
def train_ivector(job: IvectorJob, corpus: PackedCorpus, runtime: Runtime) -> IvectorExtractor:
    """The extractor of a corpus.

    Raises:
        InputError: there are fewer frames of speech than Gaussians.
        TrainingError: a likelihood is not finite.
    """
    settings = job.ivector
    log_mel = LogMel(job.features)
    sizes = ExtractorSettings(components=settings.components, embedding=settings.embedding, cepstra=settings.cepstra)
    longest = np.zeros(len(corpus), bool)
    longest[np.argsort(-corpus.num_samples, kind="stable")[: settings.utterances]] = True
    extractor = IvectorExtractor(sizes, job.features.mel_bins).to(runtime.device)
    batches = _batches(log_mel, corpus.only(longest), samples_per_batch(extractor, runtime.device), runtime.device)
    total = int(log_mel.frames(torch.from_numpy(corpus.num_samples[longest])).sum())
    frames = speech_frames(extractor, batches, math.ceil(total / settings.ubm_frames))
    ubm = fit_gaussians(frames, settings.components, settings.ubm_iterations, job.seed)
    for name, value in zip(("weights", "ubm_means", "ubm_variances"), ubm, strict=True):
        getattr(extractor, name).copy_(value)
    factors = fit_factors(extractor, batches, settings.iterations, job.seed)
    for name, value in factors._asdict().items():
        getattr(extractor, name).copy_(value)
    extractor.refresh()
    return extractor


def _batches(log_mel: LogMel, corpus: PackedCorpus, samples: int, device: torch.device) -> Batches:
    """All batches of a corpus, of so many samples at most, as often as they are asked for."""
    pieces = pieces_of(corpus.num_samples)
    parts = by_length(pieces.length, samples)
    return lambda title: progress(feature_batches(log_mel, corpus, pieces, parts, device), len(parts), title, "batch")


# The universal background model -----------------------------------------------------------------------------------------


def speech_frames(extractor: IvectorExtractor, batches: Batches, every: int) -> Tensor:
    """[N, D] float32: every nth frame of speech."""
    kept = []
    for features, lengths in batches("frames for the UBM"):
        frames, speech = extractor.cepstra(features, lengths)
        kept.append(frames[speech][::every])
    return torch.cat(kept)


def fit_gaussians(frames: Tensor, components: int, iterations: int, seed: int) -> Gaussians:
    """A mixture fitted to frames [N, D] by k-means, then EM, on their device.

    Raises:
        InputError: there are fewer frames than components.
        TrainingError: a likelihood is not finite.
    """
    if components > len(frames):
        raise InputError(f"ivector.components is {components}, but there are only {len(frames)} frames of speech: lower it")
    options = {"min_points_per_centroid": 1, "max_points_per_centroid": FRAMES_TO_KMEANS, "gpu": faiss.get_num_gpus() > 0}
    kmeans = faiss.Kmeans(frames.shape[1], components, seed=seed, **options)
    kmeans.train(frames.float().cpu().numpy())
    means = torch.from_numpy(np.asarray(kmeans.centroids)).to(frames)
    mixture = Gaussians(frames.new_full((components,), 1 / components), means, frames.var(dim=0).expand_as(means))
    for iteration in range(iterations):
        mixture, likelihood = em_step(mixture, frames)
        _report("UBM", iteration, iterations, likelihood)
    return mixture


def em_step(mixture: Gaussians, frames: Tensor) -> tuple[Gaussians, float]:
    """The mixture after a step of EM on frames [N, D], and their mean log likelihood before it."""
    components = len(mixture.weights)
    floor = VARIANCE_FLOOR * frames.var(dim=0)
    likelihood, counts, sums, squares = (frames.new_zeros(size, dtype=torch.float64) for size in _sizes(mixture))
    for part in frames.split(max(POSTERIORS_AT_ONCE // components, 1)):
        joint = mixture.joint(part)
        total = joint.logsumexp(dim=1, keepdim=True)
        posteriors = (joint - total).exp()
        likelihood += total.sum(dtype=torch.float64)
        counts += posteriors.sum(dim=0)
        sums += posteriors.T @ part
        squares += posteriors.T @ part.square()
    counts += 1e-6  # a Gaussian without frames goes to the origin
    means = sums / counts.unsqueeze(1)
    variances = torch.maximum(squares / counts.unsqueeze(1) - means.square(), floor)
    stepped = (value.to(frames.dtype) for value in (counts / counts.sum(), means, variances))
    return Gaussians(*stepped), float(likelihood) / len(frames)


def _sizes(mixture: Gaussians) -> list[tuple[int, ...]]:
    return [(), tuple(mixture.weights.shape), tuple(mixture.means.shape), tuple(mixture.means.shape)]


# The total variability matrix -------------------------------------------------------------------------------------------


class Statistics:
    """Sums over utterances that an iteration needs, in float64: what the UBM assigns, and what the factors make of it.

    Args:
        factors: the model before the iteration, in float64.
    """

    def __init__(self, factors: Factors):
        components, dimensions, size = factors.loadings.shape
        self.factors, self.grams = factors, factors.grams()
        zeros = factors.loadings.new_zeros
        self.utterances = 0
        self.frames = zeros(components)  # sum of N_i
        self.sums, self.squares = zeros(components, dimensions), zeros(components, dimensions)  # of the frames
        self.mean, self.second = zeros(size), zeros(len(self.grams.T))  # sum of w_i; of its second moments, as triangles
        self.weighted = zeros(components, len(self.grams.T))  # sum of N_i times the second moment
        self.cross = zeros(components, dimensions, size)  # sum of F_i w_i'
        self.evidence = zeros(())  # the part of the log likelihood that the factors add
        self._row, self._column = torch.tril_indices(size, size)

    def add(self, frames: Tensor, posteriors: Tensor) -> Self:
        """Count utterances in: frames [B, T, D], posteriors of the Gaussians [B, T, C]."""
        self.squares += posteriors.flatten(0, 1).T @ frames.square().flatten(0, 1)
        counts, sums = posteriors.sum(dim=1).double(), (posteriors.mT @ frames).double()
        centred = self.factors.centred(counts, sums)
        mean, moments, evidence = expectation(*self.factors.equations(self.grams, counts, centred))
        triangles = moments[:, self._row, self._column]
        self.utterances += len(counts)
        self.frames += counts.sum(dim=0)
        self.sums += sums.sum(dim=0)
        self.mean += mean.sum(dim=0)
        self.second += triangles.sum(dim=0)
        self.weighted += counts.T @ triangles
        self.cross += (centred.flatten(1).T @ mean).view_as(self.cross)
        self.evidence += evidence.sum()
        return self

    def scatter(self) -> Tensor:
        """[C, D] sums of squared distances of the frames from the model's means."""
        means = self.factors.means
        return self.squares - 2 * means * self.sums + self.frames.unsqueeze(1) * means.square()

    def likelihood(self) -> float:
        """Mean log likelihood of a frame under the model before the iteration, given its Gaussian."""
        variances = self.factors.variances
        gaussians = self.frames.unsqueeze(1) * (2 * math.pi * variances).log() + self.scatter() / variances
        return float((self.evidence - 0.5 * gaussians.sum()) / self.frames.sum())

    def updated(self) -> Factors:
        """The model after the iteration: the maximisation step, then minimum divergence.

        Gaussians of less than a frame stay as they are.
        """
        rare = self.frames < 1
        loadings = torch.where(rare[:, None, None], self.factors.loadings, self._loadings(rare))
        residual = (self.scatter() - (loadings * self.cross).sum(dim=2)) / self.frames.clamp(min=1).unsqueeze(1)
        floor = VARIANCE_FLOOR * self.squares.sum(dim=0) / self.frames.sum()
        variances = torch.where(rare.unsqueeze(1), self.factors.variances, torch.maximum(residual, floor))
        return self._standardised(Factors(self.factors.means, loadings, variances))

    def _loadings(self, rare: Tensor) -> Tensor:
        """[C, D, E] that maximise the expected likelihood; any for the Gaussians that are `rare` ([C] bool)."""
        identity = (self._row == self._column).to(self.weighted)
        weighted = torch.where(rare.unsqueeze(1), identity, self.weighted)
        parts = zip(weighted.split(COMPONENTS_AT_ONCE), self.cross.split(COMPONENTS_AT_ONCE), strict=True)
        return torch.cat([torch.linalg.solve(unpacked(part, len(self.mean)), cross.mT).mT for part, cross in parts])

    def _standardised(self, factors: Factors) -> Factors:
        """The same model, with factors whose mean and covariance over the utterances are those of a standard normal variable."""
        mean = self.mean / self.utterances
        covariance = unpacked(self.second / self.utterances, len(mean)) - mean.outer(mean)
        root = torch.linalg.cholesky(covariance)
        return Factors(factors.means + factors.loadings @ mean, factors.loadings @ root, factors.variances)


def expectation(precision: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the posterior of the factors of B utterances is, from `Factors.equations`.

    Returns:
        Means [B, E], second moments [B, E, E], and what the factors add to the log likelihoods [B].
    """
    root = torch.linalg.cholesky(precision)
    mean = torch.cholesky_solve(right.unsqueeze(2), root).squeeze(2)
    moments = torch.cholesky_inverse(root) + mean.unsqueeze(2) * mean.unsqueeze(1)
    return mean, moments, 0.5 * (right * mean).sum(dim=1) - root.diagonal(dim1=1, dim2=2).log().sum(dim=1)


def fit_factors(extractor: IvectorExtractor, batches: Batches, iterations: int, seed: int) -> Factors:
    """The total variability model of all utterances, in float64, given the extractor's UBM.

    Raises:
        TrainingError: a likelihood is not finite.
    """
    factors = random_factors(extractor.ubm, extractor.loadings.shape[2], seed)
    for iteration in range(iterations):
        statistics = Statistics(factors)
        try:
            for features, lengths in batches(f"total variability, iteration {iteration + 1} of {iterations}"):
                statistics.add(*extractor.assigned(features, lengths))
        except torch.linalg.LinAlgError as error:  # a decomposition fails on what is not finite before the likelihood is looked at
            raise TrainingError(f"total variability, iteration {iteration + 1}: {error}; check the audio") from None
        _report("total variability", iteration, iterations, statistics.likelihood())
        factors = statistics.updated()
    return factors


def random_factors(ubm: Gaussians, size: int, seed: int) -> Factors:
    """The start of the training, in float64: the UBM with random loadings, the same on every device."""
    means, variances = ubm.means.double(), ubm.variances.double()
    drawn = torch.randn(*means.shape, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Factors(means, LOADING_SCALE * drawn.to(means.device) * variances.sqrt().unsqueeze(2), variances)


def _report(model: str, iteration: int, iterations: int, likelihood: float) -> None:
    """A line of log.

    Raises:
        TrainingError: the likelihood is not finite.
    """
    if not math.isfinite(likelihood):
        raise TrainingError(f"{model}, iteration {iteration + 1}: the likelihood is not finite; check the audio")
    log.info("%s, iteration %d of %d: mean log likelihood of a frame %.4f", model, iteration + 1, iterations, likelihood)
