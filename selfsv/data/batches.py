"""Batches of crops: data workers copy int16 samples from the memory map and draw what is to be done with them.

Every draw depends on (seed, stage, epoch, utterance) alone.
"""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from selfsv.data.ahead import copied_ahead
from selfsv.data.augment import AugmentationParams, AugmentationSampler, Augmenter, normalise_peak
from selfsv.data.corpus import PackedCorpus
from selfsv.data.features import SAMPLE_RATE, LogMel
from selfsv.settings.pretrain import CropSettings
from selfsv.settings.train import LEAST_BATCH

READ_AHEAD = 2  # batches per worker: each is in shared memory until it is trained on


class Crops(NamedTuple):
    """V crops of each of B utterances, all of N samples."""

    samples: Tensor  # [V, B, N] int16
    params: AugmentationParams | None  # each field [V, B]; None: the crops stay as they are

    def clean(self) -> "Crops":
        """The crops as they were cut."""
        return Crops(self.samples, None)

    def augmented_as(self, view: int) -> "Crops":
        """All crops of an utterance under the augmentation of its crop `view`."""
        if self.params is None:
            return self
        return Crops(self.samples, AugmentationParams(*(field[view].expand_as(field) for field in self.params)))

    def view(self, index: int) -> "Crops":
        """One crop of each utterance, as [1, B, N]."""
        here = slice(index, index + 1)
        return Crops(self.samples[here], None if self.params is None else AugmentationParams(*(field[here] for field in self.params)))


class PretrainBatch(NamedTuple):
    """A batch of CA-DINO."""

    utterances: Tensor  # [B] int64
    long: Crops
    short: Crops


class PairBatch(NamedTuple):
    """One step's input of the contrastive objectives."""

    utterances: Tensor  # [B] int64
    sources: Tensor  # [2, B] int64, the utterance that each crop is cut from
    pair: Crops


class TrainBatch(NamedTuple):
    """A batch of DLG-LC: a clean and an augmented segment of each utterance."""

    utterances: Tensor  # [B] int64
    clean: Crops
    augmented: Crops
    views: Any = None  # the batch of stage I's objective, where it is trained beside


class TuneBatch(NamedTuple):
    """A batch of fine-tuning."""

    utterances: Tensor  # [B] int64
    augmented: Crops


class BatchIndices(NamedTuple):
    """One batch of an epoch, before its audio is read."""

    epoch: int
    utterances: np.ndarray  # [B] int64


def epoch_batches(seed: int, stage: int, epoch: int, utterances: int, batch_size: int, processes: int = 1) -> list[BatchIndices]:
    """The batches of an epoch. Every utterance is visited once; batch sizes differ by one at most.

    An even split rather than full batches and a rest: a rest of a few utterances would give BatchNorm poor statistics.

    Args:
        processes: among which a batch is divided; each has a part of every batch, if only the corpus is large enough.
    """
    order = epoch_order(seed, stage, epoch, utterances)
    return [BatchIndices(epoch, part) for part in np.array_split(order, steps_of(utterances, batch_size, processes))]


def steps_of(utterances: int, batch_size: int, processes: int = 1) -> int:
    """The number of batches of an epoch, none of which leaves a process without an utterance if the corpus is large enough."""
    return max(1, min(-(-utterances // batch_size), utterances // max(LEAST_BATCH, processes)))


def part_of(indices: BatchIndices, rank: int, processes: int) -> BatchIndices:
    """The part of a batch that a process sees."""
    return indices._replace(utterances=np.array_split(indices.utterances, processes)[rank])


def generator(seed: int, stage: int, epoch: int, utterance: int) -> np.random.Generator:
    """The random numbers of one visit of one utterance, whatever worker, batch or restart it happens in.

    Args:
        stage: 0 for pretraining, i for round i.
    """
    key = np.array([seed * 2**16 + stage, epoch * 2**40 + utterance], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def epoch_order(seed: int, stage: int, epoch: int, utterances: int) -> np.ndarray:
    """[utterances] a permutation: the order in which an epoch visits the corpus."""
    return generator(seed, stage, epoch, 2**40 - 1).permutation(utterances)


def stratified_positions(rng: np.random.Generator, crops: int) -> np.ndarray:
    """[crops] positions in [0, 1) of crops of one utterance that overlap as little as chance allows.

    The range of possible starts is cut into equal strata; each crop starts at a random point of a stratum of its own
    (METHOD: "overlapping as little as possible", paper V-D1).
    """
    return (rng.permutation(crops) + rng.random(crops)) / crops


class ClusterPartners:
    """Utterances that share a cluster, for the cluster-aware part of CA-DINO (paper III-B), or those of another cluster (SSPS).

    Args:
        labels: [N] cluster of every utterance.
        partners: [K] the cluster that partners of each cluster's utterances come from; none: the cluster itself.
    """

    def __init__(self, labels: np.ndarray, partners: np.ndarray | None = None):
        self._labels, self._partners = labels, partners
        self._members = np.argsort(labels, kind="stable")
        self._ends = np.cumsum(np.bincount(labels))

    def draw(self, rng: np.random.Generator, utterance: int, crops: int) -> np.ndarray:
        """[crops] utterances: the first is the item itself, each other one is uniform over the cluster of its partners.

        In a cluster of one that is its own partner all are the item itself, which is plain DINO.
        """
        label = self._labels[utterance]
        if self._partners is not None:
            label = self._partners[label]
        start = self._ends[label - 1] if label else 0
        drawn = self._members[rng.integers(start, self._ends[label], size=crops)]
        drawn[0] = utterance
        return drawn


def stacked(crops: list[list[np.ndarray]], params: list[tuple[np.ndarray, ...]] | None) -> Crops:
    """The crops of a batch from each item's crops and, unless they stay clean, its augmentation."""
    samples = torch.from_numpy(np.stack([np.stack(views) for views in zip(*crops, strict=True)]))
    if params is None:
        return Crops(samples, None)
    return Crops(samples, AugmentationParams(*(torch.from_numpy(np.stack(field, axis=1)) for field in zip(*params, strict=True))))


class PretrainCrops(Dataset):
    """Multi-crop views for CA-DINO (paper V-D1). Indexed by a `BatchIndices`.

    Args:
        partners: utterances of the same cluster to crop from, or None for plain DINO.
    """

    def __init__(
        self, corpus: PackedCorpus, sampler: AugmentationSampler, settings: CropSettings, seed: int, partners: ClusterPartners | None
    ):
        self._corpus, self._sampler, self._settings, self._seed, self._partners = corpus, sampler, settings, seed, partners
        self._long = round(settings.long_seconds * SAMPLE_RATE)
        self._short = round(settings.short_seconds * SAMPLE_RATE)

    def __getitem__(self, indices: BatchIndices) -> PretrainBatch:
        items = [self._item(indices.epoch, int(utterance)) for utterance in indices.utterances]
        longs, shorts, long_params, short_params = (list(part) for part in zip(*items, strict=True))
        return PretrainBatch(torch.from_numpy(indices.utterances), stacked(longs, long_params), stacked(shorts, short_params))

    def _item(self, epoch: int, utterance: int) -> tuple[Any, ...]:
        """Long crops, short crops, and the augmentation of each."""
        rng = generator(self._seed, 0, epoch, utterance)
        longs, shorts = self._settings.long_crops, self._settings.short_crops
        positions = np.concatenate([stratified_positions(rng, longs), stratified_positions(rng, shorts)])
        sources = [utterance] * (longs + shorts)
        if self._partners is not None:
            sources = self._partners.draw(rng, utterance, longs + shorts).tolist()
        lengths = [self._long] * longs + [self._short] * shorts
        crops = [self._corpus.crop(*crop) for crop in zip(sources, positions, lengths, strict=True)]
        return crops[:longs], crops[longs:], self._sampler.draw(rng, longs), self._sampler.draw(rng, shorts)


class PairCrops(Dataset):
    """Two crops of each utterance, both to be augmented, for contrastive objectives. Indexed by a `BatchIndices`.

    Args:
        partners: utterances of the same cluster to cut the second crop from, or None for the same utterance.
    """

    def __init__(
        self, corpus: PackedCorpus, sampler: AugmentationSampler, crop_seconds: float, seed: int, partners: ClusterPartners | None
    ):
        self._corpus, self._sampler, self._seed, self._partners = corpus, sampler, seed, partners
        self._length = round(crop_seconds * SAMPLE_RATE)

    def __getitem__(self, indices: BatchIndices) -> PairBatch:
        items = [self._item(indices.epoch, int(utterance)) for utterance in indices.utterances]
        sources, crops, params = (list(part) for part in zip(*items, strict=True))
        return PairBatch(torch.from_numpy(indices.utterances), torch.from_numpy(np.stack(sources, axis=1)), stacked(crops, params))

    def _item(self, epoch: int, utterance: int) -> tuple[Any, ...]:
        """The utterance of each crop, the crops, and how they are augmented."""
        rng = generator(self._seed, 0, epoch, utterance)
        positions = stratified_positions(rng, 2)
        sources = np.full(2, utterance) if self._partners is None else self._partners.draw(rng, utterance, 2)
        crops = [self._corpus.crop(int(source), position, self._length) for source, position in zip(sources, positions, strict=True)]
        return sources, crops, self._sampler.draw(rng, 2)


class TrainCrops(Dataset):
    """Two different segments of each utterance, the second to be augmented (Algorithm 1). Indexed by a `BatchIndices`."""

    def __init__(self, corpus: PackedCorpus, sampler: AugmentationSampler, crop_seconds: float, seed: int, stage: int):
        self._corpus, self._sampler, self._seed, self._stage = corpus, sampler, seed, stage
        self._length = round(crop_seconds * SAMPLE_RATE)

    def __getitem__(self, indices: BatchIndices) -> TrainBatch:
        items = [self._item(indices.epoch, int(utterance)) for utterance in indices.utterances]
        clean, augmented, params = (list(part) for part in zip(*items, strict=True))
        return TrainBatch(torch.from_numpy(indices.utterances), stacked(clean, None), stacked(augmented, params))

    def _item(self, epoch: int, utterance: int) -> tuple[Any, ...]:
        """The clean crop, the one to augment, and how."""
        rng = generator(self._seed, self._stage, epoch, utterance)
        first, second = stratified_positions(rng, 2)
        clean = self._corpus.crop(utterance, first, self._length)
        augmented = self._corpus.crop(utterance, second, self._length)
        return [clean], [augmented], self._sampler.draw(rng, 1)


class TuneCrops(Dataset):
    """An augmented segment of each utterance, from anywhere in it. Indexed by a `BatchIndices`."""

    def __init__(self, corpus: PackedCorpus, sampler: AugmentationSampler, crop_seconds: float, seed: int, stage: int):
        self._corpus, self._sampler, self._seed, self._stage = corpus, sampler, seed, stage
        self._length = round(crop_seconds * SAMPLE_RATE)

    def __getitem__(self, indices: BatchIndices) -> TuneBatch:
        crops, params = (list(part) for part in zip(*(self._item(indices.epoch, int(row)) for row in indices.utterances), strict=True))
        return TuneBatch(torch.from_numpy(indices.utterances), stacked(crops, params))

    def _item(self, epoch: int, utterance: int) -> tuple[Any, ...]:
        """The crop and its augmentation."""
        rng = generator(self._seed, self._stage, epoch, utterance)
        crop = self._corpus.crop(utterance, rng.random(), self._length)
        return [crop], self._sampler.draw(rng, 1)


def loaded(dataset: Dataset, planned: Iterable[BatchIndices], workers: int, device: torch.device) -> Iterator[Any]:
    """The batches of `planned` in order, read ahead by `workers` processes; what is large of them is on `device` already."""
    on_gpu = device.type == "cuda"
    ahead: dict[str, Any] = {"prefetch_factor": READ_AHEAD} if workers else {}
    with _deaf_children():
        batches = iter(DataLoader(dataset, sampler=planned, batch_size=None, num_workers=workers, pin_memory=on_gpu, **ahead))
    return copied_ahead(batches, device) if on_gpu else batches


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes that are started inside never see SIGTERM.

    SLURM and shells send it to all processes of a job. A worker that dies of it takes the trainer down before its state is
    saved; one that lives on ends with the trainer, which it watches.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class FeatureExtractor:
    """Crops to features on the training device: augmentation, peak normalisation, log-mel."""

    def __init__(self, augmenter: Augmenter, log_mel: LogMel, device: torch.device):
        self._augmenter, self.log_mel, self.device = augmenter, log_mel.to(device), device

    @torch.no_grad()
    def __call__(self, crops: Crops) -> Tensor:
        """Features [V * B, T, mel_bins], view by view."""
        samples = crops.samples.flatten(0, 1).to(self.device, non_blocking=True)
        if crops.params is None:
            return self.log_mel(normalise_peak(samples.float()))
        return self.log_mel(self._augmenter(samples, AugmentationParams(*(field.flatten() for field in crops.params))))
