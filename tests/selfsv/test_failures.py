"""No failure ends with status 1, which means "different speakers"."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from selfsv.__main__ import main
from selfsv.inference import speaker_model
from tests.conftest import REPOSITORY
from tests.selfsv.conftest import recording
from tests.selfsv.test_commands import call  # noqa: F401 a fixture


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (RuntimeError("odd\nmore"), 2, "selfsv: failed: RuntimeError: odd (test_failures.py, line"),
        (KeyError("odd"), 2, "selfsv: failed: KeyError: 'odd' ("),
        (MemoryError(), 2, "selfsv: out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), 2, "selfsv: out of memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: can't allocate"), 2, "selfsv: out of memory"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_no_exception_ends_with_the_status_of_a_no(monkeypatch, capsys, tmp_path, error, status, message):
    def fail(_: Path) -> None:
        raise error

    monkeypatch.setattr("selfsv.cli.inspect.described", fail)
    assert main(["inspect", str(tmp_path)]) == status
    messages = capsys.readouterr().err
    assert messages.startswith(message) and len(messages.splitlines()) == bool(message)


def test_torch_that_does_not_load_is_an_error(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch.so: failed to map segment from shared object')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    done = subprocess.run([sys.executable, "-m", "selfsv", "--version"], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and "libtorch.so: failed to map" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's device that is always full")
def test_output_that_cannot_be_written_is_an_error(experiment, monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["inspect", str(experiment.folder)]) == 2
        full.flush()  # as the interpreter does at its end, which would make the status 120
    assert "No space left on device" in capsys.readouterr().err


def test_output_that_nobody_reads_has_the_status_of_a_pipe(experiment, monkeypatch, capsys):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["inspect", str(experiment.folder)]) == 141
        pipe.flush()
    assert capsys.readouterr().err == ""


def test_verify_names_the_recording_that_memory_does_not_suffice_for(call, experiment, monkeypatch, tmp_path):  # noqa: F811
    """And embed gives the others theirs."""
    good, large = recording(experiment.utterances[0]), tmp_path / "large.wav"
    soundfile.write(large, 0.1 * np.random.default_rng(0).normal(size=160_000), 16_000)
    embed = speaker_model.embed_utterances

    def limited(encoder: object, log_mel: object, utterances: speaker_model._Waveforms, runtime: object) -> np.ndarray:
        if utterances.num_samples.max() >= 160_000:
            torch.empty(1 << 60)  # Torch's own error for more than any machine has
        return embed(encoder, log_mel, utterances, runtime)

    monkeypatch.setattr(speaker_model, "embed_utterances", limited)
    status, output, messages = call("verify", large, good, "--threshold", 0.5)
    assert status == 2 and output == "" and "large.wav: out of memory" in messages and "Traceback" not in messages
    status, found, messages = call("embed", good, large, recording(experiment.utterances[1]), "--json")
    assert status == 3 and len(found["embedded"]) == 2 and "large.wav: out of memory" in messages
    np.testing.assert_allclose([row["embedding"] for row in found["embedded"]], experiment.embeddings[:2], atol=1e-4)
