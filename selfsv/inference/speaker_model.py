"""A trained model as its user sees it: recordings in, embeddings out, embeddings compared."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from selfsv.data.augment import normalise_peak
from selfsv.data.features import LogMel
from selfsv.engine.extraction import embed_utterances
from selfsv.engine.pieces import pieces_of
from selfsv.engine.runtime import Runtime
from selfsv.errors import InputError
from selfsv.inference.comparing import Background, Comparing, Norm
from selfsv.inference.failures import reason_of
from selfsv.inference.quality import Quality, quality_of
from selfsv.parallel import ordered_map
from selfsv.prepare.containers import RejectionError
from selfsv.prepare.decoding import RATE, load_utterance, resample
from selfsv.prepare.speech_detection import SpeechDetector, with_margins
from selfsv.scoring.calibration import Calibration

__all__ = ["Background", "Embedded", "Norm", "SpeakerModel"]

SHORTEST_SECONDS = 0.3  # a word; shorter recordings say next to nothing about a voice
SILENCE = 0.001  # of full scale
NOT_FINITE = "failed: the model gives an embedding that is not finite"
FILES_AT_ONCE = 256  # decoded together, so that recordings of similar length share a batch
LONGEST_BATCH_SECONDS = 600  # of recordings decoded together


class Embedded(NamedTuple):
    """The result for one recording."""

    path: str
    seconds: float  # that were embedded: its length, or that of its speech and margins where a detector was given
    embedding: np.ndarray | None  # [D] float32
    reason: str  # why there is none; else empty
    quality: Quality | None = None  # None where there is no embedding


class _Decoded(NamedTuple):
    """A recording before it is embedded."""

    path: str
    samples: np.ndarray | str  # [num_samples] int16, or the reason why they cannot be used
    quality: Quality | None = None


class _Waveforms:
    """Decoded recordings as `embed_utterances` reads them."""

    def __init__(self, recordings: list[np.ndarray]):
        self._recordings = recordings
        self.num_samples = np.array([len(samples) for samples in recordings], dtype=np.int64)

    def samples(self, index: int) -> np.ndarray:
        """[num_samples] int16."""
        return self._recordings[index]


@dataclass(frozen=True)
class SpeakerModel(Comparing):
    """An encoder and its features; made by `selfsv.load`.

    Attributes:
        name: what it was loaded from.
        subtract_mean: whether the training corpus's mean embedding is subtracted before comparing.
        cohort_top: nearest members of the cohort that normalise a score.
        provenance: where the weights came from.
        background_of: reads the background when it is first needed; None where the model has none.
        calibration: from scores to log-likelihood ratios; None where there is none.
    """

    name: str
    encoder: nn.Module
    log_mel: LogMel
    device: torch.device
    subtract_mean: bool = False
    cohort_top: int = 300
    provenance: dict[str, Any] = field(default_factory=dict)
    background_of: Callable[[], Background] | None = None
    calibration: Calibration | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Names the weights: embeddings of models with different fingerprints cannot be compared."""
        digest = hashlib.sha256()
        for name, value in sorted(self.encoder.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.inference_mode()
    def embed(self, waveform: Tensor | np.ndarray, rate: int = RATE) -> Tensor:
        """The embedding of a waveform, or of a batch of waveforms of one length.

        Args:
            waveform: [N] or [B, N] float, full scale 1.
            rate: of its samples, Hz; resampled to 16 kHz where it is another.

        A waveform of more than two minutes is cut into pieces of equal length, none of which is longer; the mean of their embeddings is
        the waveform's.

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
        _, starts, lengths = pieces_of(np.array([batch.shape[1]]))
        pieces = [batch[:, start : start + length].to(self.device) for start, length in zip(starts, lengths, strict=True)]
        embeddings = torch.stack([self.encoder(self.log_mel(normalise_peak(piece))).float().cpu() for piece in pieces]).mean(dim=0)
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

    def embed_files(self, paths: Iterable[str], threads: int = 1, detector: SpeechDetector | None = None) -> Iterator[Embedded]:
        """The result for each recording, in order: decoded on threads, batched by length.

        Args:
            paths: of the recordings.
            threads: that decode.
            detector: what is further than a quarter of a second from the speech that it finds is dropped before embedding; None:
                recordings are embedded whole.

        A recording that cannot be used, or that there is not enough memory for, is left out with the reason. Memory grows neither with
        the number of recordings nor, beyond their samples, with their length: see `selfsv.engine.extraction`.
        """
        decoded = ordered_map(partial(_decoded, detector), paths, threads)
        while chunk := list(_chunk(decoded)):
            yield from self._embed_chunk(chunk)

    def _embed_chunk(self, chunk: list[_Decoded]) -> Iterator[Embedded]:
        usable = [recording.samples for recording in chunk if not isinstance(recording.samples, str)]
        results = iter(self._embeddings(usable))
        for path, samples, quality in chunk:
            if isinstance(samples, str):
                yield Embedded(path, 0.0, None, samples)
            elif isinstance(result := next(results), str):
                yield Embedded(path, 0.0, None, result)
            else:
                yield Embedded(path, len(samples) / RATE, result, "", quality)

    def _embeddings(self, recordings: list[np.ndarray]) -> list[np.ndarray | str]:
        """The embedding of each recording ([num_samples] int16), or the reason why there is none."""
        if not recordings:
            return []
        runtime = Runtime(self.device, workers=0, bfloat16=False, compile=False, checkpoint_seconds=0.0)
        try:
            rows = embed_utterances(self.encoder, self.log_mel, _Waveforms(recordings), runtime)
        except Exception as error:
            failure = reason_of(error)
        else:
            return [row if np.isfinite(row).all() else NOT_FINITE for row in rows]
        if len(recordings) == 1:
            return [failure]
        # Not inside `except`: what the failed call holds in memory is freed by now. One at a time, only the culprit fails.
        return [result for recording in recordings for result in self._embeddings([recording])]

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


def _decoded(detector: SpeechDetector | None, path: str) -> _Decoded:
    try:
        samples = load_utterance(path, min_seconds=SHORTEST_SECONDS, min_peak=SILENCE)
        if detector is None:
            return _Decoded(path, samples, quality_of(samples))
        stretches = detector.stretches(samples)
        if not stretches:
            return _Decoded(path, "no speech: the detector finds none")
        parts = [samples[start:end] for start, end in with_margins(stretches, len(samples))]
        seconds = sum(end - start for start, end in stretches) / RATE
        return _Decoded(path, np.concatenate(parts), quality_of(samples, seconds))
    except RejectionError as rejection:
        return _Decoded(path, str(rejection))
    except Exception as error:
        return _Decoded(path, reason_of(error))


def _chunk(decoded: Iterator[_Decoded]) -> Iterator[_Decoded]:
    """The next recordings, as many as may be in memory together."""
    samples = 0
    for recording in islice(decoded, FILES_AT_ONCE):
        yield recording
        samples += 0 if isinstance(recording.samples, str) else len(recording.samples)
        if samples > LONGEST_BATCH_SECONDS * RATE:
            return
