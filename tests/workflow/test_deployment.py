"""The workflow in an empty folder, as snakedeploy puts it there: from a repository on GitHub, which here is one on this disk."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import REPOSITORY, Outcome, Workshop, planned

# What snakedeploy 0.17 writes.
DEPLOYED = """
from snakemake.utils import min_version
min_version("6.10.0")
configfile: "config/config.yaml"
module selfsv:
    snakefile: github("owner/selfsv", path="workflow/Snakefile", {reference})
    config: config
use rule * from selfsv
"""
HOST = "https://github.com/"
GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C"]


class Site:
    """A machine on which GitHub is a folder, and with a cache of its own."""

    def __init__(self, folder: Path, workshop: Workshop):
        self.origin = folder / "hub" / "owner" / "selfsv"
        shutil.copytree(workshop.folder, self.origin, ignore=shutil.ignore_patterns("the trials.txt", "overlay.yaml", "__pycache__"))
        shutil.copytree(REPOSITORY / "config", self.origin / "config")
        self.git("init", "--quiet", "--initial-branch", "main")
        self.commit("one")
        redirection = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.file://{folder}/hub/.insteadOf", "GIT_CONFIG_VALUE_0": HOST}
        self.environment = {**os.environ, **redirection, "XDG_CACHE_HOME": str(folder / "cache")}
        self.folder = folder / "it's deployed"

    def git(self, *arguments: str) -> None:
        """Call git in the repository."""
        subprocess.run([*GIT, str(self.origin), *arguments], check=True)

    def commit(self, message: str) -> None:
        """Commit all."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)

    def snakemake(self, *arguments: str) -> Outcome:
        """Run it in the folder that the workflow was deployed to, as a user would."""
        command = [str(Path(sys.executable).with_name("snakemake")), *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False)
        return Outcome(done.returncode, done.stdout + done.stderr)

    def deploy(self, reference: str = 'branch="main"') -> None:
        """Put there what snakedeploy would."""
        (self.folder / "workflow").mkdir(parents=True)
        (self.folder / "workflow" / "Snakefile").write_text(DEPLOYED.format(reference=reference))
        shutil.copytree(self.origin / "config", self.folder / "config")

    def configure(self, workshop: Workshop) -> None:
        """Give it the configuration of a workshop."""
        shutil.copy(workshop.folder / "overlay.yaml", self.folder / "config" / "config.yaml")
        shutil.copy(workshop.folder / "the trials.txt", self.folder)


@pytest.fixture
def site(tmp_path: Path, fresh: Workshop) -> Site:
    return Site(tmp_path, fresh)


def test_snakedeploy_itself_makes_a_folder_that_plans_all_jobs(site, fresh):
    program = shutil.which("snakedeploy")
    if program is None:
        pytest.skip("snakedeploy is not installed")
    command = [program, "deploy-workflow", f"{HOST}owner/selfsv", str(site.folder), "--branch", "main"]
    done = subprocess.run(command, env=site.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    as_deployed = site.snakemake("--dry-run")
    assert as_deployed.status == 0, as_deployed.told
    experiment = yaml.safe_load((site.folder / "config" / "config.yaml").read_text())["experiment"]
    assert f"results/{experiment}/report.html" in planned(as_deployed.told).outputs
    site.configure(fresh)
    done = site.snakemake("--dry-run")
    assert done.status == 0, done.told
    plan, expected = planned(done.told), fresh.plan()
    assert plan.outputs == expected.outputs and plan.rules - expected.rules == {"default": 1}


def test_a_deployed_workflow_runs_the_code_of_its_commit(site, fresh):
    """Also after the repository has gone on, and it is there once, whoever asks."""
    site.deploy()
    site.configure(fresh)
    first = site.snakemake("--cores", "2", "results/tiny/data/rirs.pt")
    assert first.status == 0, first.told
    assert (site.folder / "results/tiny/data/rirs.pt").exists()
    (checkout,) = site.folder.parent.glob("cache/**/owner/selfsv-*")
    assert (checkout / "pipeline" / "rirs.py").read_text() == (site.origin / "pipeline" / "rirs.py").read_text()
    assert "Nothing to be done" in site.snakemake("--dry-run", "results/tiny/data/rirs.pt").told
    site.git("tag", "old")
    (site.origin / "pipeline" / "rirs.py").write_text("raise SystemExit('edited')\n")
    site.commit("two")
    failed = site.snakemake("--cores", "2", "--forceall", "results/tiny/data/rirs.pt")
    assert failed.status == 1 and len(list(site.folder.parent.glob("cache/**/owner/selfsv-*"))) == 2
    text = DEPLOYED.format(reference='tag="old"')
    (site.folder / "workflow" / "Snakefile").write_text(text)
    again = site.snakemake("--cores", "2", "results/tiny/data/rirs.pt")
    assert again.status == 0, again.told
    assert len(list(site.folder.parent.glob("cache/**/owner/selfsv-*"))) == 2


def test_the_snakefile_in_front_says_which_one_to_name(site):
    site.deploy()
    path = site.folder / "workflow" / "Snakefile"
    path.write_text(path.read_text().replace('path="workflow/Snakefile"', 'path="Snakefile"'))
    done = site.snakemake("--dry-run")
    assert done.status == 1 and "github(..., path='workflow/Snakefile')" in done.told
