"""The report: complete, self-contained, safe against hostile names, and really rendered by a browser."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest

from tests.reporting.conftest import REASON, SPEAKER_NAME

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
def test_the_page_says(expected, page):
    assert expected in " ".join(Page(page).text)


def test_the_page_shows_the_error_rates_of_the_metrics_file(page, results):
    text = " ".join(Page(page).text)
    for eer in results.metrics()["eer"]:
        assert f"{100 * eer:.2f}" in text


def test_figures_are_inside_the_page(page):
    parsed = Page(page)
    assert parsed.tags.count("svg") > 15
    assert parsed.fetched == []
    assert not re.search(r"url\(\s*['\"]?https?:", page)


@pytest.mark.parametrize("hostile", [SPEAKER_NAME, REASON])
def test_names_and_reasons_are_text_and_no_markup(hostile, page):
    parsed = Page(page)
    assert hostile not in page
    assert hostile in " ".join(parsed.text)
    assert not {"script", "img"} & set(parsed.tags)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_a_browser_shows_the_page(page, results, tmp_path):
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
