"""The page in a real browser: it draws, plays, selects, and stays fluid with ten thousand points."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfsv.explore.iteration import read_iteration
from selfsv.explore.page import Options, render
from tests.explore.conftest import write_experiment
from tests.explore.test_page import HOSTILE

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the page is not looked at in a browser")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

POINTS = 10_000
PLAYING = """async (point) => {
    const player = document.getElementById('player');
    explore.select(point, false);
    await player.play();
    await new Promise((resolve) => setTimeout(resolve, 300));
    return {ready: player.readyState, duration: player.duration, at: player.currentTime, error: player.error};
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


class Opened:
    """A page, and what it asked for and complained of."""

    def __init__(self, browser: "sync_api.Browser", file: Path):
        self.tab = browser.new_page(viewport={"width": 1400, "height": 950})
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.tab.on("pageerror", lambda error: self.problems.append(str(error)))
        self.tab.on("console", lambda message: self.problems.append(message.text))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(file.as_uri())

    def pixel(self, point: int) -> tuple[float, float]:
        """Where a point of the map is in the window."""
        box = self.tab.locator("#map").bounding_box()
        x, y = self.tab.evaluate("(point) => explore.position(point)", point)
        return box["x"] + x, box["y"] + y


@pytest.fixture(scope="module")
def large(browser, packed, tmp_path_factory) -> Opened:
    folder = tmp_path_factory.mktemp("large")
    names = [f"speaker {number % 50}/session {number}" for number in range(POINTS - len(HOSTILE))] + HOSTILE
    iteration = read_iteration(write_experiment(folder / "large", packed, names))
    (folder / "page.html").write_text(render(iteration, Options(method="pca")).html, encoding="utf-8")
    return Opened(browser, folder / "page.html")


@pytest.fixture(autouse=True)
def fresh(large) -> Iterator[None]:
    yield
    large.tab.keyboard.press("Escape")
    for button in ("#whole", "#tab-clusters", "#by-label"):
        large.tab.click(button)
    assert large.problems == [] and large.tab.title() == "small, DLG-LC round 1 – look and listen"
    assert [url for url in large.requests if not url.startswith(("file:", "data:"))] == []


def first_playable(large: Opened) -> int:
    return large.tab.evaluate("Number(Object.keys(JSON.parse(document.getElementById('sounds').textContent))[0])")


def test_a_click_on_a_point_selects_it_and_names_it(large):
    names = json.loads(large.tab.evaluate("document.getElementById('data').textContent"))["names"]
    assert len(names) == POINTS
    for point in (17, 4_321, POINTS - 1):
        # On the whole map, points cover each other.
        large.tab.evaluate("(point) => explore.select(point, false)", point)
        large.tab.mouse.move(*large.pixel(point))
        scale = large.tab.evaluate("explore.state().scale")
        for _ in range(9):
            large.tab.mouse.wheel(0, -400)
        large.tab.wait_for_function("(scale) => explore.state().scale > 200 * scale", arg=scale)  # e^(9 · 0.6) = 221
        large.tab.keyboard.press("Escape")
        assert large.tab.evaluate("explore.state().selected") is None
        large.tab.mouse.click(*large.pixel(point))
        assert large.tab.evaluate("explore.state().selected") == point
        assert large.tab.inner_text("#name") == names[point]
        large.tab.mouse.move(*large.pixel(point))
        assert names[point] in large.tab.text_content("#tip")
        large.tab.click("#whole")


def test_dragging_moves_the_map_and_selects_nothing(large):
    before = large.pixel(5)
    box = large.tab.locator("#map").bounding_box()
    large.tab.mouse.move(box["x"] + 200, box["y"] + 200)
    large.tab.mouse.down()
    large.tab.mouse.move(box["x"] + 260, box["y"] + 170, steps=4)
    large.tab.mouse.up()
    assert large.pixel(5) == pytest.approx((before[0] + 60, before[1] - 30))
    assert large.tab.evaluate("explore.state().selected") is None


def test_a_sound_is_there_and_plays(large):
    found = large.tab.evaluate(PLAYING, first_playable(large))
    assert found["error"] is None and found["ready"] >= 2 and found["at"] > 0
    assert 0.2 < found["duration"] <= 4.1
    assert large.tab.locator("#player").is_visible()


def test_rows_of_the_lists_select_and_play(large):
    for tab in ("changed", "distrusted"):
        large.tab.click(f"#tab-{tab}")
        row = large.tab.locator("#rows tr.row").first
        row.locator("button").click()
        large.tab.wait_for_function("(point) => explore.state().selected === point", arg=int(row.get_attribute("data-point")))
        assert large.tab.inner_text("#name") == row.locator("td").nth(1).inner_text()
        large.tab.wait_for_function("document.getElementById('player').currentTime > 0")


def test_a_cluster_is_highlighted_with_its_utterances(large):
    before = large.tab.locator("#map").screenshot()
    row = large.tab.locator("#rows tr[data-cluster]").nth(1)
    label = int(row.get_attribute("data-cluster"))
    row.click()
    assert large.tab.evaluate("explore.state().cluster") == label
    large.tab.wait_for_timeout(100)
    assert large.tab.locator("#map").screenshot() != before
    members = large.tab.locator("tr.members tr[data-point]")
    labels = json.loads(large.tab.evaluate("document.getElementById('data').textContent"))["labels"]
    assert members.count() >= 5
    assert {labels[int(member.get_attribute("data-point"))] for member in members.all()} == {label}


def test_orders_and_colours_change(large):
    sizes = "[...document.querySelectorAll('tr[data-cluster]')].map((row) => Number(row.cells[2].textContent.replace(',', '')))"
    large.tab.select_option("#order", "small")
    smallest = large.tab.evaluate(sizes)
    large.tab.select_option("#order", "large")
    assert large.tab.evaluate(sizes) == smallest[::-1] == sorted(smallest, reverse=True)
    by_label = large.tab.locator("#map").screenshot()
    large.tab.click("#by-session")
    large.tab.wait_for_timeout(100)
    assert large.tab.locator("#map").screenshot() != by_label


def test_a_search_selects_by_a_part_of_the_name(large):
    large.tab.fill("#find", "SESSION 4321")
    large.tab.press("#find", "Enter")
    large.tab.wait_for_function("explore.state().selected === 4321")
    assert large.tab.inner_text("#name") == "speaker 21/session 4321"


@pytest.mark.parametrize("width", [1400, 420])
def test_nothing_is_wider_than_the_window(large, width):
    large.tab.set_viewport_size({"width": width, "height": 950})
    assert large.tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    large.tab.set_viewport_size({"width": 1400, "height": 950})
