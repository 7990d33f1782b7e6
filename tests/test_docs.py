"""The documentation: it builds without a warning, and what it names exists."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
# Those that GitHub shows by themselves; links of the pages are checked by the build.
READMES = [
    REPOSITORY / name
    for name in ("README.md", "CONTRIBUTING.md", *(f"{folder}/README.md" for folder in ("config", "demo", "results", "benchmarks")))
]
SCHEMA: dict[str, Any] = json.loads((REPOSITORY / "workflow" / "schemas" / "config.schema.json").read_text(encoding="utf-8"))
FOLDERS = "selfsv|pipeline|workflow|tests|benchmarks|config|containers|demo|slurm|systems|envs|docs"
ENDINGS = (".pt", ".parquet", ".py", ".json", ".yaml", ".html", ".md")

page_by_name = pytest.mark.parametrize("page", [*READMES, *PAGES], ids=lambda page: str(page.relative_to(REPOSITORY)))


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """`mkdocs build --strict`."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config), "--site-dir", str(site)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_pages_build_without_a_warning(tmp_path):
    result = build(REPOSITORY / "mkdocs.yml", tmp_path)
    assert result.returncode == 0, result.stderr
    assert {
        path.relative_to(tmp_path).with_suffix(".md") for path in tmp_path.rglob("*.html") if path.name not in ("404.html", "search.html")
    } == {page.relative_to(DOCS) for page in PAGES}


@pytest.mark.parametrize("link", ["nowhere.md", "index.md#nowhere", "../nowhere.py"])
def test_a_link_to_nowhere_fails_the_build(tmp_path, link):
    shutil.copytree(DOCS, tmp_path / "docs")
    (tmp_path / "mkdocs.yml").write_text((REPOSITORY / "mkdocs.yml").read_text())
    for name in ("config.yaml", "CONTRIBUTING.md", "demo", "selfsv"):  # what pages link to
        (tmp_path / name).symlink_to(REPOSITORY / name)
    with open(tmp_path / "docs" / "index.md", "a") as page:
        page.write(f"\n[a link]({link})\n")
    result = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert result.returncode != 0 and "nowhere" in result.stderr


@pytest.mark.parametrize("page", READMES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_of_other_texts_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)", page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        if anchor:
            assert anchor.removeprefix("#") in anchors(path), target + anchor


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as GitHub and MkDocs name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@page_by_name
def test_named_files_exist(page):
    for name in re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", page.read_text(encoding="utf-8")):
        assert (REPOSITORY / name).exists(), name


@page_by_name
def test_named_settings_exist(page):
    keys = re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)(?:: [^`]*)?`", page.read_text(encoding="utf-8"))
    for key in (key for key in keys if key.split(".")[0] in SCHEMA["properties"] and not key.endswith(ENDINGS)):
        section = SCHEMA
        for part in key.split("."):
            known = section.get("properties", {})
            assert part in known or "patternProperties" in section, key
            section = resolved(known[part] if part in known else next(iter(section["patternProperties"].values())))


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """What `schema` refers to, if it refers to something."""
    return SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


@page_by_name
def test_configurations_are_valid(page):
    least = {"experiment": "x", "corpora": {"train": {"layout": "folder", "path": "x"}}}
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        jsonschema.validate({**least, **yaml.safe_load(block)}, SCHEMA)
