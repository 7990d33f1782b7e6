"""The real workflow around stand-ins for the stages: real Snakemake, real triggers, seconds instead of hours."""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
# The options that name a stage's outputs.
OUTPUTS = {
    "listing": ["listing", "speakers", "left-out"],
    "check_corpus": ["output"],
    "check_trials": ["output"],
    "pack": ["audio", "manifest"],
    "manifest": ["manifest"],
    "derive": ["output"],
    "noise": ["noise"],
    "rirs": ["rirs"],
    "pretrain": ["model", "history"],
    "baseline": ["model"],
    "extract": ["output"],
    "cluster": ["output"],
    "train": ["model", "history", "gate", "losses"],
    "large_margin": ["model", "history"],
    "finetune": ["model", "history"],
    "calibrate": ["output"],
    "score": ["output"],
    "quality": ["output"],
    "extract_parts": ["output"],
    "diagnose": ["output"],
    "metrics": ["output", "comparisons", "det-bands", "conditions"],
    "report": ["output"],
    "adopt": ["model"],
    "ivector": ["model"],
    "videos": ["videos"],
    "faces": ["images", "faces", "manifest"],
    "face_manifest": ["table", "manifest"],
    "train_av": ["model", "face-model", "history", "gate", "losses"],
    "extract_av": ["output"],
    "modalities": ["output"],
    "record": ["output"],
}
TABLES = ("metrics.parquet", "comparisons.parquet", "det_bands.parquet", "conditions.parquet")  # of the stage `metrics`
STAND_IN = """
import json, pathlib, sys
arguments = dict(zip(sys.argv[1:], sys.argv[2:]))
for option in {outputs!r}:
    pathlib.Path(arguments["--" + option]).write_text(" ".join(sys.argv))
for option in ("--log", "--table"):
    if option in arguments:
        pathlib.Path(arguments[option]).write_text("the " + option[2:] + " of {stage}")
with open("calls.jsonl", "a") as file:
    file.write(json.dumps(["{stage}", sys.argv[1:]]) + "\\n")
"""
CONFIG: dict[str, Any] = {
    "experiment": "tiny",
    "rounds": 2,
    "corpora": {"train": {"layout": "folder", "path": "no/such folder"}, "test": {"layout": "folder", "path": "nor this"}},
    "trials": {"some": {"corpus": "test", "path": "the trials.txt"}},
    "pack": {"shards": 2},
    "runtime": {"device": "cpu", "threads": 1, "workers": 0},
}


# Imports Snakemake once, which takes longer than all that it does in these tests, and forks for every run.
SERVER = """
import json, os, sys
import snakemake.cli
for line in sys.stdin:
    folder, arguments, output = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(1, 2)
        snakemake.cli.main(arguments)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Plan:
    """What a dry run says that it would do."""

    rules: Counter[str]
    outputs: frozenset[str]

    def made_by(self, *names: str) -> bool:
        """Whether exactly these rules would run."""
        return set(self.rules) == set(names)


class Outcome(NamedTuple):
    """How a run of Snakemake ended, and all that it said."""

    status: int
    told: str


class Server:
    """Runs Snakemake, one run at a time."""

    def __init__(self, folder: Path):
        self.output = folder / "output.txt"
        self.process = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def snakemake(self, folder: Path, *arguments: str) -> Outcome:
        """Run it in `folder`."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps([str(folder), arguments, str(self.output)]), file=self.process.stdin, flush=True)
        return Outcome(int(self.process.stdout.readline()), self.output.read_text())

    def stop(self) -> None:
        """End the server."""
        self.process.communicate()


@dataclass(frozen=True)
class Workshop:
    """A copy of the repository in which the workflow can be run, and its stages edited."""

    folder: Path
    server: "Server"

    def configure(self, **changes: Any) -> None:
        """Write the overlay, with sections of `changes` merged into it."""
        config = {
            **CONFIG,
            **{key: {**CONFIG.get(key, {}), **value} if isinstance(value, dict) else value for key, value in changes.items()},
        }
        (self.folder / "overlay.yaml").write_text(yaml.safe_dump(config))

    def snakemake(self, *arguments: str) -> Outcome:
        """Run Snakemake here, as a user would."""
        return self.server.snakemake(self.folder, "--cores", "2", *arguments)

    def run(self) -> str:
        """Run the workflow to its end."""
        done = self.snakemake("--configfile", "overlay.yaml")
        assert done.status == 0, done.told
        return done.told

    def plan(self, *arguments: str) -> Plan:
        """What the workflow would do now, by the overlay or what else `arguments` name."""
        done = self.snakemake("--dry-run", *(arguments or ("--configfile", "overlay.yaml")))
        assert done.status == 0, done.told
        return planned(done.told)

    def calls(self) -> list[tuple[str, list[str]]]:
        """Each stage that was called, and its arguments."""
        return [(stage, arguments) for stage, arguments in map(json.loads, (self.folder / "calls.jsonl").read_text().splitlines())]

    def append(self, path: str, text: str = "\n# A comment that was not there before.\n") -> None:
        """Edit a file."""
        with (self.folder / path).open("a") as file:
            file.write(text)


def planned(told: str) -> Plan:
    """The plan that a dry run printed."""
    blocks = re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):\n((?: +.*\n)*)", told, re.MULTILINE)
    blocks = [(name, text) for name, text in blocks if name != "all"]
    outputs = [file for _, text in blocks for line in re.findall(r"^ +output: (.*)", text, re.MULTILINE) for file in line.split(", ")]
    return Plan(Counter(name for name, _ in blocks), frozenset(file.removeprefix("results/tiny/") for file in outputs))


def build(folder: Path, server: Server) -> Workshop:
    """A workshop with the real workflow and settings, in which every stage only writes its outputs."""
    folder.mkdir()
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(REPOSITORY / name, folder)
    for name in ("workflow", "pipeline", "selfsv", "envs"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for stage, outputs in OUTPUTS.items():
        script = folder / "pipeline" / f"{stage}.py"
        script.write_text(_imports(script) + STAND_IN.format(stage=stage, outputs=outputs))
    (folder / "the trials.txt").write_text("1 a/b/c.wav a/b/d.wav\n")
    workshop = Workshop(folder, server)
    workshop.configure()
    return workshop


def _imports(script: Path) -> str:
    """The imports of a real stage, never carried out: the stand-in depends on the same files and starts at once."""
    statements = [node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(["if None:", *(f"    {ast.unparse(node)}" for node in statements)])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Runs Snakemake for all tests."""
    started = Server(tmp_path_factory.mktemp("server"))
    yield started
    started.stop()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Workshop:
    """A workshop in which everything is done; not to be changed. Its name needs quoting."""
    workshop = build(tmp_path_factory.mktemp("finished") / "it's done", server)
    (workshop.folder / "first-run.txt").write_text(workshop.run())
    return workshop


@pytest.fixture
def workshop(finished: Workshop, tmp_path: Path) -> Workshop:
    """A copy of the finished workshop to play with."""
    return Workshop(Path(shutil.copytree(finished.folder, tmp_path / finished.folder.name)), finished.server)


@pytest.fixture
def fresh(tmp_path: Path, server: Server) -> Workshop:
    """A workshop in which nothing has run yet."""
    return build(tmp_path / "fresh", server)
