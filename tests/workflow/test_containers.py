"""The images' recipes, as far as they can be checked without a builder."""

import re
import shutil
import tomllib
from fnmatch import fnmatch

import pytest
import yaml

from tests.workflow.conftest import REPOSITORY, Workshop

CONTAINERS = REPOSITORY / "containers"
DOCKERFILE = (CONTAINERS / "Dockerfile").read_text(encoding="utf-8")
DEFINITION = (CONTAINERS / "selfsv.def").read_text(encoding="utf-8")
RECIPES = {"Dockerfile": DOCKERFILE, "selfsv.def": DEFINITION}


def copied(recipe):
    """Each path that a recipe copies, with the place below the image's folder that it comes to."""
    if recipe == "selfsv.def":
        section = re.search(r"^%files\n(.*?)^%", DEFINITION, re.DOTALL | re.MULTILINE)[1]
        return dict(line.split() for line in section.strip().splitlines())
    pairs = {}
    for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE):
        *sources, place = line.split()
        for source in sources:
            pairs[source] = f"/opt/selfsv/{place.removeprefix('./') or source}"
    return pairs


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_is_copied_exists_and_is_enough_to_plan_a_run(recipe, server, tmp_path):
    (tmp_path / "opt/selfsv").mkdir(parents=True)
    for source, place in copied(recipe).items():
        copy = shutil.copytree if (REPOSITORY / source).is_dir() else shutil.copy
        copy(REPOSITORY / source, tmp_path / place.removeprefix("/"))
    (tmp_path / "work").mkdir()
    workshop = Workshop(tmp_path / "work", server)
    workshop.configure(modality="audio_visual")
    (workshop.folder / "the trials.txt").touch()
    plan = workshop.plan("--snakefile", str(tmp_path / "opt/selfsv/Snakefile"), "--configfile", "overlay.yaml")
    assert {"report.html", "metrics.parquet"} <= plan.outputs and plan.rules["train_av"] == 2


def test_both_images_hold_the_same_and_the_context_lets_it_through():
    assert copied("Dockerfile") == copied("selfsv.def")
    lines = (CONTAINERS / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"  # all is left out but what follows
    assert {pattern[1:] for pattern in patterns if pattern.startswith("!")} == copied("Dockerfile").keys()
    assert not any(fnmatch(source, pattern) for source in copied("Dockerfile") for pattern in patterns[1:] if not pattern.startswith("!"))


@pytest.mark.parametrize("text", RECIPES.values(), ids=RECIPES)
def test_versions_come_from_the_lock(text):
    lock = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    assert not re.findall(r"[<>=~]=\s*\d", text)
    [pattern] = re.findall(r"grep '(.*?)' requirements.lock", text)
    assert len(re.findall(pattern, lock, re.MULTILINE)) == 1
    installs = re.findall(r"^.*uv pip install(?:.*\\\n)*.*$", text, re.MULTILINE)
    assert installs and all("--constraint requirements.lock" in line or "--no-deps" in line for line in installs)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = re.findall(r"--extra (\S+)", text)
    assert extras and set(extras) <= project["optional-dependencies"].keys()
    environment = yaml.safe_load((REPOSITORY / "envs/faces.yaml").read_text(encoding="utf-8"))
    assert f"python={re.search('PYTHON=(.*)', text)[1]}" in environment["dependencies"]
    # What conda installs for the stages, these extras ask for, too.
    asked = [*project["dependencies"], *(name for extra in extras for name in project["optional-dependencies"][extra])]
    names = {re.split("[<>=]", requirement)[0] for requirement in asked}
    assert {pin.split("==")[0] for pin in environment["dependencies"][-1]["pip"]} - {"markupsafe"} <= names  # jinja2 brings it


def test_nothing_runs_as_root():
    users = re.findall(r"^(USER|RUN) ?(\S*)", DOCKERFILE, re.MULTILINE)
    assert users[-1][0] == "USER" and users[-1][1] not in ("root", "0")
