"""Embeddings of whole, clean utterances: how the workflow extracts them, and how `selfsv` does.

Memory of an encoder grows with the length of what it sees at once, so an utterance of more than `LONGEST_PIECE` is cut into pieces of
equal length, none longer than that. Its embedding is the mean of the pieces' embeddings. As the pieces are equally long, that mean
weighs every second alike. The embeddings are averaged as the encoder gives them, not at unit length: the training corpus's mean, which
is subtracted before comparing, is a mean of such embeddings. Each piece has its own peak and feature mean, as if it were a recording.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from selfsv.data.augment import FULL_SCALE, normalise_peak
from selfsv.data.features import SAMPLE_RATE, LogMel
from selfsv.engine.pieces import Pieces, pieces_of
from selfsv.engine.runtime import Runtime
from selfsv.errors import InputError
from selfsv.models.model_file import Model
from selfsv.parallel import ordered_map
from selfsv.progress import progress

SECONDS_PER_BATCH = {"cpu": 120, "cuda": 2400}
VALUES_PER_FRAME = 4096  # in a tensor of an encoder, up to which it sees that many seconds at once
READERS = {"cpu": 1, "cuda": 4}  # threads that copy samples: a GPU is through with a batch before one has copied the next
Progress = Callable[[list[np.ndarray], int], Iterable[np.ndarray]]


class Utterances(Protocol):
    """Waveforms of 16 kHz."""

    @property
    def num_samples(self) -> np.ndarray:
        """[N], the length of each utterance."""

    def samples(self, index: int) -> np.ndarray:
        """[num_samples] int16, one utterance."""


def unwatched(batches: list[np.ndarray], _: int) -> Iterable[np.ndarray]:
    """No progress bar."""
    return batches


def extract_embeddings(
    encoder: nn.Module, log_mel: LogMel, corpus: Utterances, runtime: Runtime, progress: Progress = unwatched
) -> np.ndarray:
    """[N, D] float32 embeddings of all utterances of a corpus, in its order.

    Arguments as for `embed_utterances`.

    Raises:
        FloatingPointError: an embedding is not finite.
    """
    embeddings = embed_utterances(encoder, log_mel, corpus, runtime, progress)
    if not np.isfinite(embeddings).all():
        raise FloatingPointError("the encoder gives embeddings that are not finite")
    return embeddings


def embeddings_by(path: Path, model: Model, recordings: Utterances, runtime: Runtime, title: str) -> np.ndarray:
    """[N, D] embeddings by the model in the file at `path`, with a progress bar called `title`.

    Raises:
        InputError: an embedding is not finite; the message names the file.
    """
    encoder, log_mel = runtime.extracting(model.encoder), runtime.with_kernels(model.log_mel)
    try:
        return extract_embeddings(encoder, log_mel, recordings, runtime, lambda batches, total: progress(batches, total, title, "batch"))
    except FloatingPointError as error:
        raise InputError(f"{path}: {error}; train it again") from None


@torch.inference_mode()
def embed_utterances(
    encoder: nn.Module, log_mel: LogMel, utterances: Utterances, runtime: Runtime, progress: Progress = unwatched
) -> np.ndarray:
    """[N, D] float32 embeddings of utterances, in their order, finite or not.

    Pieces of similar length share a batch; the encoder masks the padding. Processes of a group share the work.

    Args:
        encoder: takes features [B, T, F] and lengths [B].
        progress: wraps the iterable of batches, given their number.
    """
    training = encoder.training
    encoder.eval()
    pieces = pieces_of(utterances.num_samples)
    batches = runtime.group.part(by_length(pieces.length, samples_per_batch(encoder, runtime.device)))
    inputs = feature_batches(log_mel, utterances, pieces, batches, runtime.device)
    parts = []
    for _, (features, lengths) in zip(progress(batches, len(batches)), inputs, strict=True):
        with runtime.autocast():
            parts.append(encoder(features, lengths).float())
    encoder.train(training)
    runtime.group.meet()
    joined = torch.zeros(len(pieces.length), runtime.group.largest(parts[0].shape[1] if parts else 0))
    for indices, part in zip(batches, parts, strict=True):
        joined[torch.from_numpy(indices)] = part.cpu()
    return mean_of_pieces(pieces.utterance, runtime.group.sum(joined)).numpy()


def feature_batches(
    log_mel: LogMel, utterances: Utterances, pieces: Pieces, batches: list[np.ndarray], device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Features [B, T, F] and their numbers of frames [B], on `device` in float32, of each batch.

    Args:
        pieces: of `utterances`.
        batches: indices of pieces.
    """
    log_mel = log_mel.to(device)
    read = partial(_read, utterances, pieces, device.type == "cuda")
    for waves, lengths in ordered_map(read, batches, READERS[device.type]):
        lengths = lengths.to(device, non_blocking=True)
        speech = normalise_peak(waves.to(device, non_blocking=True).float() / FULL_SCALE)
        yield log_mel(speech, lengths), log_mel.frames(lengths)


def samples_per_batch(encoder: nn.Module, device: torch.device) -> int:
    """The most samples of a batch, padding included: fewer for an encoder whose tensors are large."""
    values = getattr(encoder, "values_per_frame", 0)
    return round(SECONDS_PER_BATCH[device.type] * SAMPLE_RATE * min(1.0, VALUES_PER_FRAME / max(values, 1)))


def mean_of_pieces(utterance: np.ndarray, embeddings: Tensor) -> Tensor:
    """Embeddings of utterances, [N, D]; those of one piece stay as they are.

    Args:
        utterance: [P], which utterance (from 0, sorted, each at least once) a piece belongs to.
        embeddings: [P, D], of the pieces.
    """
    counts = np.bincount(utterance)
    if len(counts) == len(utterance):
        return embeddings
    sums = embeddings.new_zeros(len(counts), embeddings.shape[1]).index_add_(0, torch.from_numpy(utterance), embeddings)
    return sums / torch.from_numpy(counts).unsqueeze(1)


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


def _read(utterances: Utterances, pieces: Pieces, pin: bool, indices: np.ndarray) -> tuple[Tensor, Tensor]:
    """The pieces at `indices`, padded."""
    places = zip(*(column[indices] for column in pieces), strict=True)
    return padded([utterances.samples(index)[start : start + length] for index, start, length in places], pin=pin)


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
