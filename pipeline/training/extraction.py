"""Embeddings of whole, clean utterances."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.audio.augment import FULL_SCALE, normalise_peak
from pipeline.audio.corpus import PackedCorpus
from pipeline.audio.features import SAMPLE_RATE, LogMel
from pipeline.parallel import ordered_map
from pipeline.training.runtime import Runtime

SECONDS_PER_BATCH = {"cpu": 120, "cuda": 2400}
READERS = {"cpu": 1, "cuda": 4}  # threads that copy samples: a GPU is through with a batch before one has copied the next
Progress = Callable[[list[np.ndarray], int], Iterable[np.ndarray]]


def unwatched(batches: list[np.ndarray], _: int) -> Iterable[np.ndarray]:
    """No progress bar."""
    return batches


@torch.inference_mode()
def extract_embeddings(
    encoder: nn.Module, log_mel: LogMel, corpus: PackedCorpus, runtime: Runtime, progress: Progress = unwatched
) -> np.ndarray:
    """[N, D] float32 embeddings of all utterances of a corpus, in its order.

    Utterances of similar length share a batch; the encoder masks the padding. Processes of a group share the work.

    Args:
        encoder: takes features [B, T, F] and lengths [B].
        progress: wraps the iterable of batches, given their number.

    Raises:
        FloatingPointError: an embedding is not finite.
    """
    training = encoder.training
    encoder.eval()
    log_mel = log_mel.to(runtime.device)
    batches = runtime.group.part(by_length(corpus.num_samples, SECONDS_PER_BATCH[runtime.device.type] * SAMPLE_RATE))
    read = partial(_read, corpus, runtime.device.type == "cuda")
    parts = []
    for _, (waves, lengths) in zip(progress(batches, len(batches)), ordered_map(read, batches, READERS[runtime.device.type]), strict=True):
        lengths = lengths.to(runtime.device, non_blocking=True)
        speech = normalise_peak(waves.to(runtime.device, non_blocking=True).float() / FULL_SCALE)
        features = log_mel(speech, lengths)  # in float32, as in training
        with runtime.autocast():
            parts.append(encoder(features, log_mel.frames(lengths)).float())
    encoder.train(training)
    together = torch.zeros(len(corpus), runtime.group.largest(parts[0].shape[1] if parts else 0))
    for indices, part in zip(batches, parts, strict=True):
        together[torch.from_numpy(indices)] = part.cpu()
    embeddings = runtime.group.sum(together).numpy()
    if not np.isfinite(embeddings).all():
        raise FloatingPointError("the encoder gives embeddings that are not finite")
    return embeddings


def by_length(num_samples: np.ndarray, samples_per_batch: int) -> list[np.ndarray]:
    """Indices of utterances in batches of similar length, none of which holds more samples than asked for with its padding."""
    order = np.argsort(num_samples, kind="stable")
    return list(_packed(order, num_samples, samples_per_batch))


def _packed(order: np.ndarray, num_samples: np.ndarray, samples_per_batch: int) -> Iterator[np.ndarray]:
    start = 0
    for end in range(1, len(order) + 1):
        full = end == len(order) or (end + 1 - start) * num_samples[order[end]] > samples_per_batch
        if full:
            yield order[start:end]
            start = end


def _read(corpus: PackedCorpus, pin: bool, indices: np.ndarray) -> tuple[Tensor, Tensor]:
    """The utterances at `indices`, padded."""
    return padded([corpus.samples(index) for index in indices], pin=pin)


def padded(samples: list[np.ndarray], *, pin: bool = False) -> tuple[Tensor, Tensor]:
    """int16 waveforms as [B, N] int16, zero after their ends, and their lengths [B] in samples.

    Args:
        pin: in memory that a GPU copies from by itself.
    """
    lengths = torch.tensor([len(wave) for wave in samples])
    waves = torch.empty(len(samples), int(lengths.max()), dtype=torch.int16, pin_memory=pin)
    for row, wave in zip(waves.numpy(), samples, strict=True):
        row[: len(wave)] = wave
        row[len(wave) :] = 0
    return waves, lengths
