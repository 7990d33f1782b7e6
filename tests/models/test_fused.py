"""ECAPA-TDNN's kernels for GPUs: they compile for real cards, take the place of the layers where they should, and compute the same."""

import inspect
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

from selfsv.engine import runtime as runtimes
from selfsv.engine.graphs import GraphedForward
from selfsv.engine.runtime import Runtime
from selfsv.models.ecapa import EcapaTdnn, TimeDelay
from selfsv.models.encoders import untrained
from selfsv.models.fused import delayed, fuse
from selfsv.settings.encoder import EncoderSettings
from tests.conftest import REPOSITORY

triton = pytest.importorskip("triton")
INTERPRETED = Path(__file__).with_name("interpreted_kernels.py")
ENCODER = EncoderSettings(channels=64, mfa_channels=96, bottleneck=16, embedding=12, embedding_batchnorm=True)


def test_interpreted_they_compute_what_torchs_layers_compute():
    """In a process of its own: what Triton is asked to interpret must be known before it is imported."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(INTERPRETED)]
    done = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout[-5000:]
    assert "27 passed" in done.stdout


@pytest.mark.parametrize(("kernel", "dilation", "inputs"), [(1, 1, 16), (3, 2, 16), (3, 4, 16), (5, 1, 6)])
def test_delays_are_those_of_the_layer(kernel, dilation, inputs):
    torch.manual_seed(0)
    delay, frames = TimeDelay(inputs, 16, kernel, dilation), torch.randn(3, 30, 2 * inputs)[:, :, inputs:]
    torch.testing.assert_close(delayed(delay, frames) + delay.affine.bias, delay(frames))


def test_with_gradients_in_evaluation_nothing_changes():
    torch.manual_seed(0)
    plain = untrained(ENCODER, 80, 1, 0)
    plain(torch.randn(4, 60, 80))
    fused = deepcopy(plain)
    fuse(fused)
    features, lengths = torch.randn(3, 50, 80), torch.tensor([50, 31, 20])
    assert torch.equal(plain.eval()(features, lengths), fused.eval()(features, lengths))


@pytest.mark.parametrize(("device", "fused"), [("cuda", True), ("cpu", False)])
def test_a_gpu_gets_the_kernels_and_a_cpu_the_compiler(monkeypatch, device, fused):
    compiled: list[nn.Module] = []
    monkeypatch.setattr(Runtime, "placed", lambda _, module: module)
    monkeypatch.setattr(runtimes, "compile_forward", compiled.append)
    encoder = Runtime(torch.device(device), 0, True, True, 60.0).prepared(untrained(ENCODER, 80, 1, 0))
    assert ("pooled" in vars(encoder)) == isinstance(encoder.forward, GraphedForward) == fused
    assert compiled == ([] if fused else [encoder])


BFLOATS = {"frames", "scores", "outputs", "beside", "summed", "upstream", "carried", "inner"}
BFLOATS |= {"gradient", "of_inner", "of_scores", "of_frames"}
NUMBERS = {"rows", "columns", "each", "stride", "beside_stride", "programs", "length"}
NUMBERS |= {"samples", "count", "shift_samples", "frame", "bins", "filters"}
FRACTIONS = {"epsilon", "momentum", "smallest", "clamped", "full_scale", "preemphasis"}
TILES = {
    "tile_rows": 32,
    "tile_columns": 64,
    "tile_frames": 16,
    "merged": 64,
    "adds": 1,
    "twice": 1,
    "masked": 1,
    "padded": 1,
    "rectifies": 1,
}
TILES |= {"size": 512, "tile_bins": 64, "tile_filters": 128, "precision": "tf32x3"}


def signature(names: list[str]) -> dict[str, str]:
    """The types of a kernel's arguments."""
    kinds = {
        "tracked": "*i64",
        "lengths": "*i32",
        **dict.fromkeys(BFLOATS, "*bf16"),
        **dict.fromkeys(NUMBERS, "i32"),
        **dict.fromkeys(FRACTIONS, "fp32"),
    }
    return {name: "constexpr" if name in TILES else kinds.get(name, "*fp32") for name in names}


@pytest.mark.parametrize("capability", [80, 90])
def test_every_kernel_compiles_for_a_card(monkeypatch, tmp_path, capability):
    """Ampere and Hopper; the interpreter allows what a compiler does not."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from selfsv.data import fused_features
    from selfsv.models import fused_excitation, fused_norm, fused_pooling

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    named = [vars(module).items() for module in (fused_norm, fused_pooling, fused_excitation, fused_features)]
    kernels = {name: value for items in named for name, value in items if isinstance(value, triton.JITFunction)}
    inlined = {"_rectified_tile", "_upstream_tile"}
    assert len(kernels) > 15
    for name, function in kernels.items():
        if name in inlined:
            continue
        tiles = {(index,): TILES[one] for index, one in enumerate(function.arg_names) if one in TILES}
        source = ASTSource(function, signature(function.arg_names), constexprs=tiles)
        assert "cubin" in triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm, name


def test_the_encoder_has_the_methods_that_are_replaced():
    assert list(inspect.signature(EcapaTdnn.pooled).parameters) == ["self", "frames", "mask"]
