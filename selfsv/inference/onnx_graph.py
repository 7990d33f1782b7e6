"""The whole model as one ONNX graph: waveform in, embedding out, for any length and batch.

Everything that surrounds the encoder is inside: peak normalisation, frames, window, power spectrum, mel, logarithm, mean
normalisation. ONNX's own Fourier transform is slow and not everywhere, so the spectrum is a product with a matrix that also holds
pre-emphasis and window.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsv.data.augment import FULL_SCALE, normalise_peak
from selfsv.data.features import PREEMPHASIS, SMALLEST_ENERGY, LogMel
from selfsv.errors import InputError
from selfsv.extras import package
from selfsv.inference.onnx_model import INPUT, OUTPUT, metadata_of
from selfsv.inference.speaker_model import SpeakerModel

OPSET = 18
LEAST_COSINE = 0.9999  # between the graph's and PyTorch's embeddings, checked after every export
EXAMPLES = ((1, 100.0), (2, 257.7), (3, 1.0))  # batch, and length in frames, of the waveforms of the check


class WaveformEncoder(nn.Module):
    """The graph as a module: [B, N] float32 at 16 kHz, full scale 1, to embeddings [B, D]."""

    def __init__(self, model: SpeakerModel):
        super().__init__()
        self.encoder = model.encoder
        self.log_mel = MatrixLogMel(model.log_mel)

    def forward(self, waveform: Tensor) -> Tensor:
        """[B, N] to [B, D]."""
        return self.encoder(self.log_mel(normalise_peak(waveform)))


class MatrixLogMel(nn.Module):
    """`LogMel` for whole waveforms of one length, with a matrix product for the Fourier transform."""

    inside: Tensor
    spectrum: Tensor
    mel: Tensor

    def __init__(self, log_mel: LogMel):
        super().__init__()
        self.frame, self.shift, self.mean_normalise = log_mel.frame, log_mel.shift, log_mel.mean_normalise
        real, imaginary = spectrum_matrices(log_mel)
        self.bins = real.shape[1]
        self.register_buffer("inside", torch.arange(self.frame))
        self.register_buffer("spectrum", torch.from_numpy(np.concatenate([real, imaginary], axis=1)).float())
        self.register_buffer("mel", log_mel.mel.detach().cpu().clone())

    def forward(self, waves: Tensor) -> Tensor:
        """[B, N] to [B, T, mel_bins]."""
        starts = torch.arange(1 + (waves.shape[1] - self.frame) // self.shift) * self.shift
        frames = (waves * FULL_SCALE)[:, starts.unsqueeze(1) + self.inside]
        # Not part of the matrix: where a recording with an offset is silent, rounding in the product would be all there is to see.
        frames = frames - frames.mean(dim=2, keepdim=True)
        spectrum = frames @ self.spectrum
        power = spectrum[:, :, : self.bins].square() + spectrum[:, :, self.bins :].square()
        features = (power @ self.mel).clamp(min=SMALLEST_ENERGY).log()
        return features - features.mean(dim=1, keepdim=True) if self.mean_normalise else features


def spectrum_matrices(log_mel: LogMel) -> tuple[np.ndarray, np.ndarray]:
    """Real and imaginary part of the spectrum of a frame without its mean, as matrices [frame, fft_size / 2 + 1] float64."""
    samples = np.eye(log_mel.frame)
    previous = np.concatenate([samples[:1], samples[:-1]])  # the first sample is its own predecessor
    windowed = (samples - PREEMPHASIS * previous) * log_mel.window.double().cpu().numpy()[:, None]
    transformed = np.fft.rfft(windowed, n=log_mel.fft_size, axis=0).T
    return transformed.real, transformed.imag


def write_graph(model: SpeakerModel, path: Path, name: str, licence: str, int8: Path | None = None) -> None:
    """`model` as an ONNX file at `path`, checked against PyTorch.

    Args:
        int8: also write the graph to this place with the encoder's matrix products in 8 bits.

    Raises:
        InputError: the packages of `selfsv[onnx]` are missing, or the graph does not compute what the model does.
    """
    onnxruntime = package("onnxruntime", "onnx")
    frame, shift = model.log_mel.frame, model.log_mel.shift
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("samples", min=frame)}
    example = torch.randn(2, 8 * frame + 3 * shift)  # several frames: of a single one, torch would conclude that there is never another
    facts = {"name": name, "licence": licence} | metadata_of(model, model.fingerprint, frame)
    save_graph(WaveformEncoder(model), example, axes, INPUT, facts, path)
    _check(model, onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]), path)
    if int8 is not None:
        quantise(path, int8)


def quantise(source: Path, target: Path) -> None:
    """The graph at `source` with the weights of the encoder's matrix products in 8 bits, per column; the features stay in 32 bits.

    Activations are rounded by their range in each call, so nothing is fitted to recordings (ONNX Runtime's dynamic quantisation).
    """
    onnx, quantization = package("onnx", "onnx"), package("onnxruntime.quantization", "onnx")
    products = products_of_encoder(onnx.load(source))
    with _no_advice():
        quantization.quantize_dynamic(
            source, target, weight_type=quantization.QuantType.QInt8, per_channel=True, nodes_to_quantize=products
        )


def products_of_encoder(graph: Any) -> list[str]:
    """The names of the matrix products over frames after the features, whose last step is the graph's first logarithm.

    Products of single vectors, after the pooling, are another operator (Gemm): they take no time.
    """
    logarithm = next(node for node in graph.graph.node if node.op_type == "Log")
    maker = {output: node for node in graph.graph.node for output in node.output}
    features, upstream = set(), [logarithm]
    while upstream:
        node = upstream.pop()
        features.add(node.name)
        upstream += [maker[name] for name in node.input if name in maker and maker[name].name not in features]
    return [node.name for node in graph.graph.node if node.op_type == "MatMul" and node.name not in features]


@contextmanager
def _no_advice() -> Iterator[None]:
    """onnxruntime recommends a preparation that these graphs do not need, by a warning of the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def save_graph(module: nn.Module, example: Tensor, axes: dict[int, Any], name: str, facts: dict[str, str], path: Path) -> None:
    """Trace a module of one input and one output, and write it as an ONNX file.

    Args:
        example: an input.
        axes: its dimensions that may have other sizes.
        name: what the graph calls its input.
        facts: the file's metadata.

    Raises:
        InputError: the packages of `selfsv[onnx]` are missing.
    """
    onnx = package("onnx", "onnx")
    package("onnxscript", "onnx")  # torch.onnx needs it and would say so less clearly
    with torch.no_grad():
        program = torch.onnx.export(
            module.cpu().eval(),
            (example,),
            input_names=[name],
            output_names=[OUTPUT],
            dynamic_shapes=(axes,),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    _forget_origin(graph)
    onnx.helper.set_model_props(graph, facts)
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)


def _forget_origin(message: Any) -> None:
    """Remove from a graph, or a part of it, which line of which file on this machine each step came from."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                _forget_origin(part)


def _check(model: SpeakerModel, session: Any, path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    for batch, frames in EXAMPLES:
        waves = 0.1 * torch.randn(batch, round(frames * model.log_mel.frame), generator=generator)
        (found,) = session.run([OUTPUT], {INPUT: waves.numpy()})
        cosine = F.cosine_similarity(torch.from_numpy(found), model.embed(waves)).min().item()
        if not cosine >= LEAST_COSINE:
            raise InputError(
                f"{path}: the graph's embeddings are not the model's (cosine {cosine:.6f} for waveforms of {list(waves.shape)})"
            )
