"""The model as an ONNX graph that sherpa-onnx loads: log-mel energies in, embedding out.

sherpa-onnx computes the energies itself, and not as the model was trained with: Povey's window and 20 to 7,600 Hz where the model has
Hamming's and 20 to 8,000 Hz, and frames that are centred on other samples. The graph therefore begins with a linear map from its
energies, of four frames in a row, to the model's. Least squares fit it to real recordings. Other real recordings then go through
sherpa-onnx itself, and the export is refused where their embeddings are too far from the model's own.

The mean of the training corpus is subtracted in the graph where the model wants that: sherpa-onnx compares by plain cosine.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge
from torch import Tensor, nn
from torchaudio.compliance.kaldi import fbank

from selfsv.data.augment import normalise_peak
from selfsv.data.features import FULL_SCALE, LogMel
from selfsv.errors import InputError
from selfsv.extras import package
from selfsv.inference.onnx_graph import save_graph
from selfsv.inference.speaker_model import SpeakerModel
from selfsv.prepare.decoding import RATE

INPUT = "features"
MEL_BINS, FRAME, SHIFT = 80, 400, 160  # sherpa-onnx's, and no others for a graph of this kind; the latter in samples
BEFORE, AFTER = 1, 2  # its frame i begins 120 samples before the model's, frame i + 1 begins 40 after it
RIDGE = 1e-3  # of the mean variance of an energy: enough where recordings are few
FEWEST = 10  # recordings: half of them fit the map, the others check it
LEAST_COSINE = 0.98  # mean over recordings [ours]; docs/sherpa-onnx.md says what it is worth
EXAMPLE_FRAMES = 98


class Agreement(NamedTuple):
    """How near embeddings by sherpa-onnx are to the model's own."""

    cosines: np.ndarray  # [R], of each recording's two embeddings, after mean subtraction where the model compares so

    def text(self) -> str:
        """One line."""
        mean, low, least = self.cosines.mean(), np.quantile(self.cosines, 0.05), self.cosines.min()
        return (
            f"cosine between embeddings by sherpa-onnx and by this program: {mean:.4f} on average, 5 % are below {low:.4f}, "
            f"the least is {least:.4f} ({len(self.cosines)} recordings)"
        )


class SherpaEncoder(nn.Module):
    """The graph as a module: [B, T, 80] log-mel energies of sherpa-onnx to embeddings [B, D], ready for the plain cosine."""

    energies: Tensor
    mean: Tensor

    def __init__(self, model: SpeakerModel, energies: np.ndarray):
        super().__init__()
        self.encoder = model.encoder
        self.register_buffer("energies", torch.from_numpy(energies))
        mean = model.background.mean if model.subtract_mean else np.zeros(model.dimensions, np.float32)
        self.register_buffer("mean", torch.from_numpy(mean))

    def forward(self, features: Tensor) -> Tensor:
        """[B, T, 80] to [B, D]."""
        padded = torch.cat([features[:, :1], features, features[:, -1:], features[:, -1:]], dim=1)
        count = features.shape[1]
        mapped = torch.cat([padded[:, start : start + count] for start in range(BEFORE + 1 + AFTER)], dim=2) @ self.energies
        return self.encoder(mapped - mapped.mean(dim=1, keepdim=True)) - self.mean


def sherpa_energies(wave: Tensor) -> Tensor:
    """[T, 80] log-mel energies of a waveform ([N] float32, full scale 1) as sherpa-onnx computes them (its `FeatureExtractorConfig`)."""
    return fbank(
        wave[None] * FULL_SCALE,
        num_mel_bins=MEL_BINS,
        window_type="povey",
        low_freq=20.0,
        high_freq=-400.0,
        snip_edges=False,
        dither=0.0,
        energy_floor=0.0,
    )


def energy_map(log_mel: LogMel, waves: Sequence[Tensor]) -> np.ndarray:
    """[4 · 80, 80] float32: a linear map from sherpa-onnx's energies to the model's, by least squares on recordings.

    A constant is not part of it: the mean over time is subtracted afterwards.
    """
    given, wanted = zip(*(_energies(log_mel, wave) for wave in waves), strict=True)
    inputs, outputs = np.concatenate(given), np.concatenate(wanted)
    fit = Ridge(alpha=RIDGE * len(inputs) * float(inputs.var(axis=0).mean()), fit_intercept=False).fit(inputs, outputs)
    return np.ascontiguousarray(fit.coef_.T, np.float32)


def _energies(log_mel: LogMel, wave: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """sherpa-onnx's energies [T, 4 · 80] and the model's [T, 80] of a recording, both without their mean over time."""
    theirs, ours = sherpa_energies(wave).numpy(), log_mel(normalise_peak(wave[None]))[0].numpy()
    rows = np.arange(len(ours))
    window = [theirs[np.clip(rows + offset, 0, len(theirs) - 1)] for offset in range(-BEFORE, AFTER + 1)]
    return tuple(values - values.mean(axis=0) for values in (np.concatenate(window, axis=1), ours))  # type: ignore[return-value]


def write_sherpa_graph(
    model: SpeakerModel, path: Path, facts: dict[str, str], waves: Sequence[np.ndarray], least_cosine: float = LEAST_COSINE
) -> Agreement:
    """`model` as an ONNX file at `path` for sherpa-onnx, checked by sherpa-onnx itself.

    Args:
        facts: metadata of the file beside what sherpa-onnx needs.
        waves: real recordings, [N] float32 of 16 kHz each; every second one fits the map, the others check.
        least_cosine: between both ways' embeddings, mean over the recordings.

    Raises:
        InputError: packages are missing, the model's features are too different for any map, the recordings are too few, or the
            embeddings are too far from the model's.
    """
    sherpa_onnx = package("sherpa_onnx", "sherpa")
    _refuse_features(model.log_mel)
    if len(waves) < FEWEST:
        raise InputError(f"{len(waves)} recordings are too few to fit and check a front end: name a folder of {FEWEST} or more")
    tensors = [torch.from_numpy(wave) for wave in waves]
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("frames", min=1)}
    needed = {
        "framework": "wespeaker",
        "language": "any",
        "url": "none",
        "comment": f"{facts.get('name', '')}, exported by selfsv",
        "sample_rate": str(RATE),
        "output_dim": str(model.dimensions),
        "normalize_samples": "0",
        "feature_normalize_type": "global-mean",
    }
    module = SherpaEncoder(model, energy_map(model.log_mel, tensors[::2]))
    save_graph(module, torch.randn(2, EXAMPLE_FRAMES, MEL_BINS), axes, INPUT, facts | needed, path)
    agreement = _agreement(model, extractor(sherpa_onnx, path), waves[1::2])
    if not agreement.cosines.mean() >= least_cosine:
        raise InputError(f"{agreement.text()}: less than {least_cosine:g}, so the model is not exported for sherpa-onnx")
    return agreement


def _refuse_features(log_mel: LogMel) -> None:
    bins, frame, shift = log_mel.mel.shape[1], log_mel.frame, log_mel.shift
    if (bins, frame, shift) != (MEL_BINS, FRAME, SHIFT) or not log_mel.mean_normalise:
        kept = "" if log_mel.mean_normalise else ", and keeps their mean"
        raise InputError(
            f"sherpa-onnx computes {MEL_BINS} mel bands of 25 ms every 10 ms, less their mean; this model has {bins} of "
            f"{1000 * frame / RATE:g} ms every {1000 * shift / RATE:g} ms{kept}: use --onnx, whose graph computes the features itself"
        )


def extractor(sherpa_onnx: Any, path: Path) -> Any:
    """sherpa-onnx's own object for the graph at `path`."""
    config = sherpa_onnx.SpeakerEmbeddingExtractorConfig(model=str(path), num_threads=1, provider="cpu")
    return sherpa_onnx.SpeakerEmbeddingExtractor(config)


def sherpa_embedding(extractor: Any, wave: np.ndarray) -> np.ndarray:
    """[D] float32: the embedding of a waveform ([N] float32, 16 kHz) by sherpa-onnx."""
    stream = extractor.create_stream()
    stream.accept_waveform(RATE, wave)
    stream.input_finished()
    return np.asarray(extractor.compute(stream), np.float32)


def _agreement(model: SpeakerModel, extractor: Any, waves: Sequence[np.ndarray]) -> Agreement:
    theirs = torch.from_numpy(np.stack([sherpa_embedding(extractor, wave) for wave in waves]))
    ours = torch.from_numpy(model.directions(np.stack([model.embed(wave).numpy() for wave in waves])))
    return Agreement(F.cosine_similarity(theirs, ours).numpy())
