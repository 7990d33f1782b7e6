"""Batches of crops: data workers copy int16 samples from the memory map and draw what is to be done with them."""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from selfsv.data.augment import Augmenter, Plan, Planner, normalise_peak
from selfsv.data.corpus import PackedCorpus
from selfsv.data.crops import ClusterPartners, epoch_order, generator, stratified_positions
from selfsv.data.features import SAMPLE_RATE, LogMel
from selfsv.settings.pretrain import CropSettings

LEAST_BATCH = 2  # BatchNorm needs two items
READ_AHEAD = 2  # batches per worker: each lies in shared memory until it is trained on


class Views(NamedTuple):
    """V crops of each of B utterances, all of N samples."""

    crops: Tensor  # [V, B, N] int16
    plan: Plan | None  # each field [V, B]; None: the crops stay as they are


class PretrainBatch(NamedTuple):
    """What CA-DINO sees in one step."""

    utterances: Tensor  # [B] int64
    long: Views
    short: Views


class TrainBatch(NamedTuple):
    """What DLG-LC sees in one step: a clean and an augmented segment of each utterance."""

    utterances: Tensor  # [B] int64
    clean: Views
    augmented: Views


class TuneBatch(NamedTuple):
    """What fine-tuning sees in one step."""

    utterances: Tensor  # [B] int64
    augmented: Views


class Visit(NamedTuple):
    """One batch of an epoch, before its audio is read."""

    epoch: int
    utterances: np.ndarray  # [B] int64


def visits(seed: int, stage: int, epoch: int, utterances: int, batch_size: int, processes: int = 1) -> list[Visit]:
    """The batches of an epoch. Every utterance is visited once; batch sizes differ by one at most.

    An even split rather than full batches and a rest: a rest of a few utterances would give BatchNorm poor statistics.

    Args:
        processes: among which a batch is divided; each has a part of every batch, if only the corpus is large enough.
    """
    steps = max(1, min(-(-utterances // batch_size), utterances // max(LEAST_BATCH, processes)))
    order = epoch_order(seed, stage, epoch, utterances)
    return [Visit(epoch, part) for part in np.array_split(order, steps)]


def part_of(visit: Visit, rank: int, processes: int) -> Visit:
    """The part of a batch that a process sees."""
    return visit._replace(utterances=np.array_split(visit.utterances, processes)[rank])


def stacked(crops: list[list[np.ndarray]], plans: list[tuple[np.ndarray, ...]] | None) -> Views:
    """Views of a batch from each item's crops and, unless they stay clean, its plan."""
    samples = torch.from_numpy(np.stack([np.stack(views) for views in zip(*crops, strict=True)]))
    if plans is None:
        return Views(samples, None)
    return Views(samples, Plan(*(torch.from_numpy(np.stack(field, axis=1)) for field in zip(*plans, strict=True))))


class PretrainCrops(Dataset):
    """Multi-crop views for CA-DINO (paper V-D1). Indexed by a `Visit`.

    Args:
        partners: utterances of the same cluster to crop from, or None for plain DINO.
    """

    def __init__(self, corpus: PackedCorpus, planner: Planner, settings: CropSettings, seed: int, partners: ClusterPartners | None):
        self._corpus, self._planner, self._settings, self._seed, self._partners = corpus, planner, settings, seed, partners
        self._long = round(settings.long_seconds * SAMPLE_RATE)
        self._short = round(settings.short_seconds * SAMPLE_RATE)

    def __getitem__(self, visit: Visit) -> PretrainBatch:
        items = [self._item(visit.epoch, int(utterance)) for utterance in visit.utterances]
        longs, shorts, long_plans, short_plans = (list(part) for part in zip(*items, strict=True))
        return PretrainBatch(torch.from_numpy(visit.utterances), stacked(longs, long_plans), stacked(shorts, short_plans))

    def _item(self, epoch: int, utterance: int) -> tuple[Any, ...]:
        """Long crops, short crops, and their plans."""
        rng = generator(self._seed, 0, epoch, utterance)
        longs, shorts = self._settings.long_crops, self._settings.short_crops
        positions = np.concatenate([stratified_positions(rng, longs), stratified_positions(rng, shorts)])
        sources = [utterance] * (longs + shorts)
        if self._partners is not None:
            sources = self._partners.draw(rng, utterance, longs + shorts).tolist()
        lengths = [self._long] * longs + [self._short] * shorts
        crops = [self._corpus.crop(*crop) for crop in zip(sources, positions, lengths, strict=True)]
        return crops[:longs], crops[longs:], self._planner.draw(rng, longs), self._planner.draw(rng, shorts)


class TrainCrops(Dataset):
    """Two different segments of each utterance, the second to be augmented (Algorithm 1). Indexed by a `Visit`."""

    def __init__(self, corpus: PackedCorpus, planner: Planner, crop_seconds: float, seed: int, stage: int):
        self._corpus, self._planner, self._seed, self._stage = corpus, planner, seed, stage
        self._length = round(crop_seconds * SAMPLE_RATE)

    def __getitem__(self, visit: Visit) -> TrainBatch:
        items = [self._item(visit.epoch, int(utterance)) for utterance in visit.utterances]
        clean, augmented, plans = (list(part) for part in zip(*items, strict=True))
        return TrainBatch(torch.from_numpy(visit.utterances), stacked(clean, None), stacked(augmented, plans))

    def _item(self, epoch: int, utterance: int) -> tuple[Any, ...]:
        """The clean crop, the one to augment, and its plan."""
        rng = generator(self._seed, self._stage, epoch, utterance)
        first, second = stratified_positions(rng, 2)
        clean = self._corpus.crop(utterance, first, self._length)
        augmented = self._corpus.crop(utterance, second, self._length)
        return [clean], [augmented], self._planner.draw(rng, 1)


class TuneCrops(Dataset):
    """An augmented segment of each utterance, from anywhere in it. Indexed by a `Visit`."""

    def __init__(self, corpus: PackedCorpus, planner: Planner, crop_seconds: float, seed: int, stage: int):
        self._corpus, self._planner, self._seed, self._stage = corpus, planner, seed, stage
        self._length = round(crop_seconds * SAMPLE_RATE)

    def __getitem__(self, visit: Visit) -> TuneBatch:
        crops, plans = (list(part) for part in zip(*(self._item(visit.epoch, int(row)) for row in visit.utterances), strict=True))
        return TuneBatch(torch.from_numpy(visit.utterances), stacked(crops, plans))

    def _item(self, epoch: int, utterance: int) -> tuple[Any, ...]:
        """The crop and its plan."""
        rng = generator(self._seed, self._stage, epoch, utterance)
        crop = self._corpus.crop(utterance, rng.random(), self._length)
        return [crop], self._planner.draw(rng, 1)


def loaded(dataset: Dataset, planned: Iterable[Visit], workers: int, pin: bool) -> Iterator[Any]:
    """The batches of `planned` in order, read ahead by `workers` processes."""
    ahead: dict[str, Any] = {"prefetch_factor": READ_AHEAD} if workers else {}
    with _deaf_children():
        return iter(DataLoader(dataset, sampler=planned, batch_size=None, num_workers=workers, pin_memory=pin, **ahead))


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
        self._augmenter, self._log_mel, self.device = augmenter, log_mel.to(device), device

    @torch.no_grad()
    def __call__(self, views: Views) -> Tensor:
        """Features [V * B, T, mel_bins], view by view."""
        crops = views.crops.flatten(0, 1).to(self.device, non_blocking=True)
        if views.plan is None:
            return self._log_mel(normalise_peak(crops.float()))
        return self._log_mel(self._augmenter(crops, Plan(*(field.flatten() for field in views.plan))))
