"""What a write that fails says: Torch's own error does not tell."""

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

PROGRAM = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from selfsv.artifacts import FlatTensor, save_torch

resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))  # a file that grows beyond fails to be written
folder = Path(sys.argv[1])
try:
    if sys.argv[2] == "model":
        save_torch(folder / "file.pt", torch.zeros(100_000))
    else:
        with FlatTensor(folder / "file.pt", np.int16) as flat:
            flat.append(np.zeros(149_900, np.int16))  # the raw samples fit, the file around them does not
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", ["model", "audio"])
def test_a_failed_write_is_said_and_leaves_nothing(kind, tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), kind]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True)
    assert "No space left on device, or it fails" in done.stdout and "file.pt" in done.stdout, done.stderr
    assert not list(tmp_path.iterdir())
