"""The report: complete, self-contained, safe against hostile names, and really rendered by a browser."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from pipeline.reporting.collect import Results
from pipeline.reporting.page import render
from tests.reporting.conftest import SPEAKER_NAME, settings, write_experiment

REPOSITORY = Path(__file__).parents[2]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OFFLINE = ("gpu", "quic", "background-networking", "component-update", "sync")


class Page(HTMLParser):
    """Text, tags and everything that a browser would fetch."""

    def __init__(self, html: str):
        super().__init__()
        self.text: list[str] = []
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            fetches = name == "src" or (tag == "link" and name == "href") or (tag in ("use", "image") and name.endswith("href"))
            if fetches and value and not value.startswith(("#", "data:")):
                self.fetched.append(value)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def html(results) -> str:
    """The page, made by the stage's script."""
    output = results.folder / "report.html"
    command = [sys.executable, "-m", "pipeline.report", "--settings", settings().to_json()]
    command += ["--results", str(results.folder), "--output", str(output)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return output.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "expected",
    [
        "fbank statistics",
        "untrained encoder",
        "CA-DINO",
        "DLG-LC round 3",
        "s-norm",
        "minDCF",
        "1.585",  # the paper's third round on Vox-O
        "VoxCeleb",
        "NMI",
        "too short",
        "the gate keeps nearly everything",
        "torch",
        "batch_size: 64",
    ],
)
def test_the_page_says(expected, html):
    assert expected in " ".join(Page(html).text)


def test_the_page_shows_the_error_rates_of_the_metrics_file(html, results):
    text = " ".join(Page(html).text)
    for eer in results.metrics()["eer"]:
        assert f"{100 * eer:.2f}" in text


def test_figures_are_inside_the_page(html):
    page = Page(html)
    assert page.tags.count("svg") > 15
    assert page.fetched == []
    assert not re.search(r"url\(\s*['\"]?https?:", html)


def test_a_talkers_name_is_text_and_no_script(html):
    assert SPEAKER_NAME not in html
    assert "&lt;script&gt;alert(" in html
    assert "script" not in Page(html).tags


@pytest.mark.parametrize("changes", [{"trials": {}}, {"baselines": False}, {"rounds": 0}])
def test_an_experiment_with_less_in_it_still_has_a_page(changes, tmp_path):
    experiment = settings(**changes)
    page = render(write_experiment(tmp_path / "synthetic", experiment))
    assert "CA-DINO" in page


def test_an_experiment_that_has_only_begun_has_a_page(tmp_path):
    assert "synthetic" in render(Results(tmp_path, settings()))


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_a_browser_shows_the_page(html, results, tmp_path):
    flags = ["--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{part}" for part in OFFLINE), f"--user-data-dir={tmp_path}"]
    target, picture = (results.folder / "report.html").as_uri(), tmp_path / "page.png"
    shot = [str(BROWSER), *flags, "--window-size=1200,4000", "--enable-logging=stderr", f"--screenshot={picture}", target]
    done = subprocess.run(shot, capture_output=True, text=True, timeout=120)
    assert not re.findall(r"CONSOLE.*", done.stderr)
    pixels = matplotlib.image.imread(picture)[:, :, :3]
    # Light, and with something to see in every part of the page's height.
    assert pixels.mean() > 0.8
    parts = np.array_split(pixels, 8)
    assert all(part.std() > 0.02 for part in parts)
