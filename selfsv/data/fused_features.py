"""Log-mel energies on a GPU: what lies before and after the Fourier transform, each in one pass over memory, as Triton kernels."""

from types import MethodType

import torch
import triton
import triton.language as tl
from torch import Tensor

from selfsv.data.features import FULL_SCALE, PREEMPHASIS, SMALLEST_ENERGY, LogMel

FRAMES = 8  # of a tile of windowed frames
ROWS, BINS = 64, 64  # of a tile of the spectrum
PRECISION = "tf32x3"  # three products of tensor cores, together as precise as one of float32

kernel = triton.jit(do_not_specialize=["rows", "samples", "count"])


def fuse_features(log_mel: LogMel) -> None:
    """Have `log_mel`, on a GPU, compute so."""
    log_mel.energies = MethodType(energies, log_mel)  # type: ignore[method-assign]


def energies(log_mel: LogMel, waves: Tensor) -> Tensor:
    """The logarithms of the mel filters' energies, [B, T, mel_bins], of waveforms [B, N]."""
    waves, count = waves.contiguous(), 1 + (waves.shape[1] - log_mel.frame) // log_mel.shift
    rows = len(waves) * count
    windowed = waves.new_empty(rows, log_mel.fft_size)
    sizes = waves.shape[1], count, log_mel.shift
    _windowed[(triton.cdiv(rows, FRAMES),)](
        waves, log_mel.window, windowed, rows, *sizes, log_mel.frame, FULL_SCALE, PREEMPHASIS, FRAMES, log_mel.fft_size
    )
    spectrum = torch.view_as_real(torch.fft.rfft(windowed))
    bins, filters = log_mel.mel.shape
    found = waves.new_empty(rows, filters)
    _filtered[(triton.cdiv(rows, ROWS),)](
        spectrum, log_mel.mel, found, rows, bins, filters, SMALLEST_ENERGY, ROWS, BINS, triton.next_power_of_2(filters), PRECISION
    )
    return found.view(len(waves), count, filters)


@kernel
def _windowed(
    waves, window, windowed, rows, samples, count, shift_samples, frame, full_scale, preemphasis,
    tile_rows: tl.constexpr, size: tl.constexpr,
):  # fmt: skip
    """Frames without their means, pre-emphasised, under the window, zero beyond it."""
    row = tl.program_id(0) * tile_rows + tl.arange(0, tile_rows)
    place = tl.arange(0, size)
    here = (row < rows)[:, None] & (place < frame)[None, :]
    begin = (row // count).to(tl.int64) * samples + (row % count) * shift_samples
    values = tl.load(waves + begin[:, None] + place[None, :], mask=here, other=0.0) * full_scale
    # Before the first sample of a frame comes itself.
    before = tl.load(waves + begin[:, None] + tl.maximum(place - 1, 0)[None, :], mask=here, other=0.0) * full_scale
    mean = (tl.sum(values, axis=1) / frame)[:, None]
    weight = tl.load(window + place, mask=place < frame, other=0.0)
    values = ((values - mean) - preemphasis * (before - mean)) * weight[None, :]
    target = windowed + row[:, None].to(tl.int64) * size + place[None, :]
    tl.store(target, tl.where(here, values, 0.0), mask=(row < rows)[:, None] & (place < size)[None, :])


@kernel
def _filtered(
    spectrum, mel, found, rows, bins, filters, smallest,
    tile_rows: tl.constexpr, tile_bins: tl.constexpr, tile_filters: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """The logarithms of the filters' energies in the power spectrum."""
    row = tl.program_id(0) * tile_rows + tl.arange(0, tile_rows)
    filter = tl.arange(0, tile_filters)
    energy = tl.zeros([tile_rows, tile_filters], tl.float32)
    for start in range(0, bins - 1, tile_bins):  # the last bin, of half the sample rate, is in no filter
        bin = start + tl.arange(0, tile_bins)
        here = (row < rows)[:, None] & (bin < bins)[None, :]
        place = spectrum + 2 * (row[:, None].to(tl.int64) * bins + bin[None, :])
        real, imaginary = tl.load(place, mask=here, other=0.0), tl.load(place + 1, mask=here, other=0.0)
        part = (bin < bins)[:, None] & (filter < filters)[None, :]
        weights = tl.load(mel + bin[:, None] * filters + filter[None, :], mask=part, other=0.0)
        energy = tl.dot(real * real + imaginary * imaginary, weights, energy, input_precision=precision)
    target = found + row[:, None].to(tl.int64) * filters + filter[None, :]
    tl.store(target, tl.log(tl.maximum(energy, smallest)), mask=(row < rows)[:, None] & (filter < filters)[None, :])
