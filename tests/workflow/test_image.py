"""`--sdm apptainer` with a stand-in for Apptainer: which jobs run in which image, and what an image is given."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import Outcome, Workshop

# Writes down how it was called, and carries out the command outside of any image.
STAND_IN = """#!{python}
import json, os, sys
if sys.argv[1:] == ["--version"]:
    print("apptainer version 1.4.2")
    sys.exit()
if sys.argv[1] == "pull":
    open(sys.argv[-2], "w").close()
with open({record!r}, "a") as file:
    file.write(json.dumps([sys.argv[1:], os.environ.get("APPTAINER_BIND")]) + "\\n")
if "exec" in sys.argv:
    os.execvp("bash", sys.argv[sys.argv.index("bash"):])
"""
# Makes no environments: where a job asks for one, Snakemake stops. What it asks first, it always asks.
CONDA = """#!/bin/sh
test "$*" = "info --json" && exec echo '{"conda_prefix": "/none", "platform": "linux-64"}'
exit 1
"""


class Site:
    """A machine with Apptainer and conda."""

    def __init__(self, folder: Path):
        self.record = folder / "record.jsonl"
        program = folder / "bin" / "apptainer"
        program.parent.mkdir()
        program.write_text(STAND_IN.format(python=sys.executable, record=str(self.record)))
        program.chmod(0o755)
        conda = program.with_name("conda")
        conda.write_text(CONDA)
        conda.chmod(0o755)
        self.path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"

    def snakemake(self, workshop: Workshop, *arguments: str, **environment: str) -> Outcome:
        """Run it as a user would, on this machine."""
        command = [str(Path(sys.executable).with_name("snakemake")), "--cores", "2", *arguments, "--configfile", "overlay.yaml"]
        variables = {**os.environ, "PATH": self.path, **environment}
        done = subprocess.run(command, cwd=workshop.folder, env=variables, capture_output=True, text=True, check=False)
        return Outcome(done.returncode, done.stdout + done.stderr)

    def calls(self) -> list[tuple[list[str], str | None]]:
        """Arguments of each call, and the folders to bind."""
        return [tuple(json.loads(line)) for line in self.record.read_text().splitlines()] if self.record.exists() else []


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("methods", [["apptainer"], ["conda", "apptainer"]], ids="+".join)
def test_every_job_runs_in_the_image_with_the_code_of_the_repository(methods, site, fresh, tmp_path):
    (fresh.folder / "selfsv.sif").touch()
    fresh.configure(runtime={"container": "selfsv.sif"})
    done = site.snakemake(fresh, "data", "--apptainer-args=--nv", "--sdm", *methods, APPTAINER_BIND="", SINGULARITY_BIND="/recordings")
    assert done.status == 0, done.told
    stages = [stage for stage, _ in fresh.calls()]
    assert len(site.calls()) == len(stages) > 5
    for arguments, bound in site.calls():
        before, image = arguments[: arguments.index("bash") - 1], arguments[arguments.index("bash") - 1]
        assert image == "selfsv.sif" and "exec" in before and "--nv" in before
        assert before[before.index("--home") + 1] == str(fresh.folder)
        assert bound == f"/recordings,{fresh.folder}"
        assert "python -m pipeline." in arguments[-1]


def test_an_image_elsewhere_is_pulled(site, fresh):
    fresh.configure(runtime={"container": "library://somebody/selfsv:1"})
    done = site.snakemake(fresh, "results/tiny/data/rirs.pt", "--sdm", "apptainer")
    assert done.status == 0, done.told
    (pulled, _), (run, _) = site.calls()
    assert pulled[0] == "pull" and pulled[-1] == "library://somebody/selfsv:1"
    assert Path(run[run.index("bash") - 1]).name == pulled[-2]


@pytest.mark.parametrize(
    ("container", "methods"), [(None, ["--sdm", "apptainer"]), ("selfsv.sif", []), (None, [])], ids=["no image", "no method", "neither"]
)
def test_without_image_or_method_no_job_sees_apptainer(container, methods, site, fresh):
    fresh.configure(runtime={"container": container})
    done = site.snakemake(fresh, "results/tiny/data/rirs.pt", *methods)
    assert done.status == 0, done.told
    assert [stage for stage, _ in fresh.calls()] == ["rirs"] and not site.calls()


@pytest.mark.parametrize(("container", "methods"), [("selfsv.sif", ["conda"]), (None, ["conda", "apptainer"])], ids=["method", "image"])
def test_without_image_or_method_conda_keeps_its_environments(container, methods, site, fresh):
    (fresh.folder / "selfsv.sif").touch()
    fresh.configure(runtime={"container": container})
    done = site.snakemake(fresh, "data", "--sdm", *methods)
    assert done.status == 1 and "conda" in done.told and not site.calls(), done.told


def test_an_image_that_is_not_there_is_said_before_anything_runs(site, fresh):
    fresh.configure(runtime={"container": "images/selfsv.sif"})
    done = site.snakemake(fresh, "--dry-run", "--sdm", "apptainer")
    assert done.status == 1 and "config key 'runtime.container': images/selfsv.sif does not exist" in done.told
    assert "Traceback" not in done.told and not fresh.folder.joinpath("calls.jsonl").exists()


def test_a_setting_that_a_shell_would_read_is_refused(fresh):
    fresh.configure(runtime={"container": "selfsv.sif; rm x"})
    done = fresh.snakemake("--dry-run", "--configfile", "overlay.yaml")
    assert done.status == 1 and "runtime.container" in done.told and "Traceback" not in done.told


def test_an_image_reruns_what_was_made_without_unless_told_not_to(site, fresh):
    (fresh.folder / "selfsv.sif").touch()
    fresh.configure(runtime={"container": "selfsv.sif"})
    target = "results/tiny/data/rirs.pt"
    assert site.snakemake(fresh, target).status == 0
    assert "Software environment definition has changed" in site.snakemake(fresh, target, "--dry-run", "--sdm", "apptainer").told
    spared = site.snakemake(fresh, target, "--dry-run", "--sdm", "apptainer", "--rerun-triggers", "code", "input", "mtime", "params")
    assert "Nothing to be done" in spared.told
