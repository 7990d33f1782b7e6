"""Names, payloads and helpers of the tests with hostile input. Whatever is executed leaves a file called `pwned`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile

REPOSITORY = Path(__file__).parents[2]
RATE = 16_000
ADDRESS_SPACE = 4 << 30  # bytes a stage may map: libraries take about half of it

# Names that a shell, an option parser, a path, a terminal or a page would trip over, and that can be used all the same.
USABLE = [
    "a b",
    "it's",
    'say "hello"',
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned;",
    "| touch pwned",
    "&& touch pwned #",
    "-rf",
    "--settings",
    "dots..",
    "%s{}{wildcards.corpus}",
    "<img src=x onerror=alert(1)>",
    "語り手 é 😀",
    "*?[x]",
    "back\\slash\\n",
]
# Names that cannot be stored as text, or would break a line or a terminal: set aside with a reason.
UNUSABLE = [b"new\nline", b"tab\there", b"red\x1b[31m", b"bell\x07", b"latin-\xe9", b"half \xf0\x9f"]


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def write_voice(path: Path | bytes, seconds: float = 1.2, seed: int = 0) -> None:
    """A recording that nothing is wrong with, in a folder that is made for it."""
    Path(os.fsdecode(path)).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        samples = np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * RATE))
        soundfile.write(file, samples, RATE, format="WAV")


def run_stage(stage: str, *arguments: object, folder: Path, limit: bool = False) -> subprocess.CompletedProcess[str]:
    """`python -m pipeline.{stage}` in `folder`, as the workflow calls it; with `limit` it may not map much memory."""
    program = [sys.executable, "-m", f"pipeline.{stage}"]
    if limit:
        lines = ["import resource, runpy, sys", f"resource.setrlimit(resource.RLIMIT_AS, ({ADDRESS_SPACE}, {ADDRESS_SPACE}))"]
        lines += [f"sys.argv[0] = {stage!r}", f"runpy.run_module('pipeline.{stage}', run_name='__main__')"]
        program = [sys.executable, "-c", "\n".join(lines)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*program, *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True, errors="replace", timeout=60
    )


def call_stage(monkeypatch: pytest.MonkeyPatch, stage: ModuleType, *arguments: object) -> None:
    """A stage's `main` as the command line would call it, without a process of its own."""
    monkeypatch.setattr(sys, "argv", [stage.__name__, *map(str, arguments)])
    stage.main()


def refused(done: subprocess.CompletedProcess[str], *named: str) -> str:
    """What the stage said, once it is clear that it ended in one error that names `named`."""
    assert done.returncode == 1, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert done.stderr.count(" ERROR ") == 1, done.stderr
    for name in named:
        assert name in done.stderr, done.stderr
    assert "\x1b" not in done.stderr and "\x07" not in done.stderr
    return done.stderr


@pytest.fixture(autouse=True)
def nothing_is_executed(tmp_path: Path) -> Iterator[None]:
    """Fails a test after which a file called `pwned` lies in its folder or in the working directory."""
    started_in = Path.cwd()
    yield
    traces = [folder for folder, folders, files in os.walk(tmp_path) if "pwned" in folders + files]
    assert not traces
    assert not (started_in / "pwned").exists()
