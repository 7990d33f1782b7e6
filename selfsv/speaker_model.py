"""A trained model as its user sees it: recordings in, embeddings out, embeddings compared."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.audio.augment import FULL_SCALE, normalise_peak
from pipeline.audio.decoding import RATE, load_utterance, resample
from pipeline.audio.features import LogMel
from pipeline.errors import InputError
from pipeline.media import RejectionError
from pipeline.parallel import ordered_map
from pipeline.scoring.cosine import unit_length
from pipeline.scoring.snorm import cohort_statistics
from pipeline.training.extraction import SECONDS_PER_BATCH, by_length, padded

SHORTEST_SECONDS = 0.3  # a word; shorter recordings say next to nothing about a voice
SILENCE = 0.001  # of full scale
FILES_AT_ONCE = 256  # decoded together, so that recordings of similar length share a batch
LONGEST_BATCH_SECONDS = 600  # of recordings decoded together

Norm = Literal["cosine", "snorm"]


class Background(NamedTuple):
    """What a score is seen against: a model's own training corpus."""

    mean: np.ndarray  # [D] float32, of the corpus's embeddings
    cohort: np.ndarray  # [C, D] float32, mean embeddings of its pseudo clusters


class Embedded(NamedTuple):
    """What became of one recording."""

    path: str
    seconds: float
    embedding: np.ndarray | None  # [D] float32
    reason: str  # why there is none; else empty


@dataclass(frozen=True)
class SpeakerModel:
    """An encoder and its features; made by `selfsv.load`.

    Attributes:
        name: what it was loaded from.
        subtract_mean: whether the training corpus's mean embedding is subtracted before comparing.
        cohort_top: nearest members of the cohort that normalise a score.
        provenance: where the weights came from.
        background_of: reads the background when it is first needed; None where the model has none.
    """

    name: str
    encoder: nn.Module
    log_mel: LogMel
    device: torch.device
    subtract_mean: bool = False
    cohort_top: int = 300
    provenance: dict[str, Any] = field(default_factory=dict)
    background_of: Callable[[], Background] | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Names the weights: embeddings of models with different fingerprints cannot be compared."""
        digest = hashlib.sha256()
        for name, value in sorted(self.encoder.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def background(self) -> Background:
        """The training corpus's mean and cohort.

        Raises:
            InputError: the model came without them.
        """
        if self.background_of is None:
            raise InputError(
                f"{self.name} is a model without its training corpus's mean and cohort, which mean subtraction and s-norm need: "
                "name the experiment's folder or an exported model, or compare by plain cosine"
            )
        return self.background_of()

    @torch.inference_mode()
    def embed(self, waveform: Tensor | np.ndarray, rate: int = RATE) -> Tensor:
        """The embedding of a waveform, or of a batch of waveforms of one length.

        Args:
            waveform: [N] or [B, N] float, full scale 1.
            rate: of its samples, Hz; resampled to 16 kHz where it is another.

        Returns:
            [D] or [B, D] float32 on the CPU, not normalised in length.

        Raises:
            InputError: it is no such waveform, is shorter than one frame, or holds NaN.
        """
        waves = torch.as_tensor(waveform)
        if waves.ndim not in (1, 2) or not waves.is_floating_point():
            raise InputError(f"a waveform is [samples] or [batch, samples] of floats, not {list(waves.shape)} of {waves.dtype}")
        batch = waves.detach().cpu().float()
        batch = batch if waves.ndim == 2 else batch[None]
        if rate != RATE:
            batch = torch.from_numpy(np.stack([_resampled(wave.numpy(), rate) for wave in batch]))
        if batch.shape[1] < self.log_mel.frame:
            raise InputError(f"a waveform of {batch.shape[1]} samples at {RATE} Hz is too short: it needs {self.log_mel.frame} at least")
        if not batch.isfinite().all():
            raise InputError("the waveform holds NaN or infinite samples")
        embeddings = self.encoder(self.log_mel(normalise_peak(batch.to(self.device)))).float().cpu()
        return embeddings if waves.ndim == 2 else embeddings[0]

    def embed_file(self, path: str | Path) -> Tensor:
        """[D] float32, the embedding of the recording at `path`: any format, rate and number of channels that the pipeline reads.

        Raises:
            InputError: it cannot be used; the message names it and says why.
        """
        (embedded,) = self.embed_files([str(path)])
        if embedded.embedding is None:
            raise InputError(f"{path}: {embedded.reason}")
        return torch.from_numpy(embedded.embedding)

    def embed_files(self, paths: Iterable[str], threads: int = 1) -> Iterator[Embedded]:
        """What becomes of each recording, in order: decoded on threads, batched by length. Memory does not grow with their number."""
        decoded = ordered_map(_decoded, paths, threads)
        while chunk := list(_chunk(decoded)):
            yield from self._embed_chunk(chunk)

    @torch.inference_mode()
    def _embed_chunk(self, chunk: list[tuple[str, np.ndarray | str]]) -> Iterator[Embedded]:
        usable, recordings = [], []
        for index, (_, samples) in enumerate(chunk):
            if not isinstance(samples, str):
                usable.append(index)
                recordings.append(samples)
        found: dict[int, np.ndarray] = {}
        lengths = np.array([len(samples) for samples in recordings], dtype=np.int64)
        for batch in by_length(lengths, SECONDS_PER_BATCH[self.device.type] * RATE):
            waves, ends = (value.to(self.device) for value in padded([recordings[row] for row in batch]))
            speech = normalise_peak(waves.float() / FULL_SCALE)
            embeddings = self.encoder(self.log_mel(speech, ends), self.log_mel.frames(ends)).float().cpu().numpy()
            found.update((usable[row], embedding) for row, embedding in zip(batch, embeddings, strict=True))
        for index, (path, samples) in enumerate(chunk):
            reason = samples if isinstance(samples, str) else ""
            seconds = 0.0 if isinstance(samples, str) else len(samples) / RATE
            yield Embedded(path, seconds, found.get(index), reason)

    def compare(self, first: Tensor | np.ndarray, second: Tensor | np.ndarray, norm: Norm = "cosine") -> float:
        """The score of two embeddings [D]: higher for the same speaker.

        Args:
            norm: `cosine`, or `snorm` for adaptive symmetric score normalisation against the model's cohort (paper Table X).

        Raises:
            InputError: the model came without what `norm` needs, or an embedding is not one of this model's.
        """
        return float(self.compare_all(np.asarray(first)[None], np.asarray(second)[None], norm)[0, 0])

    def compare_all(self, first: np.ndarray, second: np.ndarray, norm: Norm = "cosine") -> np.ndarray:
        """Scores [M, N] float32 of every embedding in `first` [M, D] with every one in `second` [N, D]; see `compare`."""
        left, right = self.directions(first), self.directions(second)
        cosine = left @ right.T
        if norm == "cosine":
            return cosine
        (means, deviations), (other_means, other_deviations) = self.statistics(left), self.statistics(right)
        z_norm = (cosine - means[:, None]) / deviations[:, None]
        t_norm = (cosine - other_means) / other_deviations
        return (z_norm + t_norm) / 2

    def directions(self, embeddings: np.ndarray) -> np.ndarray:
        """Embeddings [N, D] as they are compared: less the mean where this model wants that, and of length 1.

        Raises:
            InputError: they have another number of dimensions, or are not finite.
        """
        size = self.dimensions
        if embeddings.ndim != 2 or embeddings.shape[1] != size:
            raise InputError(f"embeddings of {self.name} have {size} dimensions, not {list(embeddings.shape[1:])}")
        if not np.isfinite(embeddings).all():
            raise InputError("an embedding holds NaN or infinite values")
        return unit_length(embeddings, self.background.mean if self.subtract_mean else None)

    def statistics(self, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of each of `directions`' [N, D] scores against the cohort, [N] each."""
        return cohort_statistics(directions, self._cohort, min(self.cohort_top, len(self._cohort)))

    @cached_property
    def _cohort(self) -> np.ndarray:
        return self.directions(self.background.cohort)

    @cached_property
    @torch.inference_mode()
    def dimensions(self) -> int:
        """Of an embedding."""
        return int(self.encoder(torch.zeros(1, 8, self.log_mel.mel.shape[1], device=self.device)).shape[1])

    @property
    def parameters(self) -> int:
        """Of the encoder."""
        return sum(value.numel() for value in self.encoder.parameters())


def _resampled(wave: np.ndarray, rate: int) -> np.ndarray:
    try:
        return resample(wave, rate)
    except RejectionError as error:
        raise InputError(str(error)) from None


def _decoded(path: str) -> tuple[str, np.ndarray | str]:
    try:
        return path, load_utterance(path, min_seconds=SHORTEST_SECONDS, min_peak=SILENCE)
    except RejectionError as rejection:
        return path, str(rejection)


def _chunk(decoded: Iterator[tuple[str, np.ndarray | str]]) -> Iterator[tuple[str, np.ndarray | str]]:
    """The next recordings, as many as may be in memory together."""
    samples = 0
    for path, recording in islice(decoded, FILES_AT_ONCE):
        yield path, recording
        samples += 0 if isinstance(recording, str) else len(recording)
        if samples > LONGEST_BATCH_SECONDS * RATE:
            return
