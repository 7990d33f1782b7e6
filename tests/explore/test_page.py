"""The page and its command: what is in it, what is left out, hostile names, and runs that are not finished."""

import json
import re
import tomllib
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from selfsv.__main__ import main
from selfsv.artifacts import write_table
from selfsv.explore.iteration import read_iteration
from selfsv.explore.page import SCRIPT, TEMPLATE, Options, drawn_rows, render
from tests.conftest import REPOSITORY
from tests.explore.conftest import write_experiment

HOSTILE = [
    "</script><script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title = 'owned'\">",
    "\"quoted\" 'and' \\backslashed\\",
    "<!--<script>",
    "{{ 7 * 7 }}{% raw %}",
    "line\u2028separator & ampersand",
]


class Elements(HTMLParser):
    """The text of scripts by id, and every attribute."""

    def __init__(self, page: str):
        super().__init__()
        self.scripts: dict[str | None, str] = {}
        self.attributes: list[tuple[str, str, str | None]] = []
        self._script: str | None = None
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, *attribute) for attribute in attrs]
        self._inside, self._script = tag == "script", dict(attrs).get("id")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._inside = False


def told(capsys, *arguments: object) -> tuple[int, str, str]:
    status = main(["explore", *map(str, arguments)])
    return status, *capsys.readouterr()


def test_the_command_writes_a_page_with_everything_in_it(experiment, capsys):
    status, output, _ = told(capsys, experiment, "--iteration", 1, "--json")
    summary = json.loads(output)
    page = (experiment / "explore_iter_1.html").read_text(encoding="utf-8")
    scripts = Elements(page).scripts
    data, sounds = json.loads(scripts["data"]), json.loads(scripts["sounds"])
    assert status == 0 and summary["output"] == str(experiment / "explore_iter_1.html")
    assert data["names"] == [f"voice {number:02d}" for number in range(40)]
    labels = pd.read_parquet(experiment / "iter_1" / "pseudo_labels.parquet")["label"]
    assert data["labels"] == labels.tolist()
    assert {label: size for label, size, *_ in data["clusters"]} == labels.value_counts().to_dict()
    assert [row[1] for row in data["clusters"]] == sorted(labels.value_counts(), reverse=True)
    assert len(sounds) == summary["playable"] >= 4 * 5 and summary["left_out"] == 0
    assert [data["sessions"][code] for code in data["session"]] == [f"session {number % 7}" for number in range(40)]


@pytest.mark.parametrize("iteration", [0, 1])
def test_nothing_is_loaded_from_elsewhere(experiment, iteration):
    page = render(read_iteration(experiment, iteration), Options()).html
    assert not re.search(r"https?:|url\(|@import|import\(|fetch\(|XMLHttpRequest", page)
    references = [(tag, name, value) for tag, name, value in Elements(page).attributes if name in ("src", "href", "srcset", "action")]
    assert references == [("link", "href", "data:,")]
    assert "default-src 'none'" in page


def test_stage_one_is_called_what_it_was(experiment):
    """In the heading of its own page, and in the lists of the page after it."""
    settings = json.loads((experiment / "settings.json").read_text())
    settings["pretrain"] |= {"method": "sdpn", "cluster_aware": {"partners": "none"}}
    (experiment / "settings.json").write_text(json.dumps(settings))
    first, second = (render(read_iteration(experiment, number), Options()).html for number in (0, 1))
    assert "<h1>small, SDPN</h1>" in first and "their cluster in SDPN" in second
    assert "CA-DINO" not in first + second


def test_an_iteration_without_lists_says_so(experiment):
    first, second = (render(read_iteration(experiment, number), Options()).html for number in (0, 1))
    for text in ("there are no clusters before it", "trained without pseudo labels"):
        assert text in first and text not in second
    assert "τ₁ = 3.25" in second


def test_the_page_says_how_its_map_was_made(experiment):
    iteration = read_iteration(experiment)
    assert "principal components" in render(iteration, Options(method="pca")).html
    pytest.importorskip("openTSNE", reason="openTSNE is not installed: the map is PCA")
    assert "t-SNE of the embeddings" in render(iteration, Options(method="tsne")).html


def test_hostile_names_stay_names(packed, tmp_path):
    iteration = read_iteration(write_experiment(tmp_path / "small", packed, HOSTILE))
    page = render(iteration, Options())
    scripts = Elements(page.html).scripts
    assert json.loads(scripts["data"])["names"] == HOSTILE
    assert len(json.loads(scripts["sounds"])) == len(HOSTILE)
    assert page.html.count("<script") == 3 and "<img" not in page.html


def test_figures_that_are_not_finite_are_left_empty(experiment):
    losses = pd.read_parquet(experiment / "iter_1" / "losses.parquet").assign(decision="dropped", loss_clean=np.nan)
    write_table(experiment / "iter_1" / "losses.parquet", losses)
    data = json.loads(Elements(render(read_iteration(experiment), Options()).html).scripts["data"])
    assert [row[1:] for row in data["distrusted"]["rows"]] == [[None, "dropped"]] * 40


def test_the_size_is_bounded_and_what_is_left_out_is_counted(experiment, capsys):
    whole = render(read_iteration(experiment), Options(codec="wav"))
    bound = len(whole.html.encode()) / 2e6
    part = render(read_iteration(experiment), Options(codec="wav", megabytes=bound))
    assert len(part.html.encode()) <= bound * 1e6
    assert 0 < part.playable < whole.playable and part.left_out == whole.playable - part.playable
    assert f"{part.left_out} more sounds were left out" in part.html and "No sound was left out" in whole.html
    status, _, problem = told(capsys, experiment, "--megabytes", 0.001)
    assert status == 2 and "--megabytes" in problem and not list(experiment.glob("*.html"))


def test_a_map_of_some_points_keeps_those_of_the_lists(experiment):
    page = render(read_iteration(experiment), Options(points=20, per_cluster=1, per_list=3))
    data = json.loads(Elements(page.html).scripts["data"])
    assert len(data["names"]) == page.points == 20 and page.utterances == 40
    assert len(data["changed"]["rows"]) + len(data["distrusted"]["rows"]) >= 15 and "20 of 40" in page.html
    assert sum(row[1] for row in data["clusters"]) == 40
    assert drawn_rows(10, [7, 7, 3], 2, 1).tolist() == [3, 7] and drawn_rows(3, [], 5, 1).tolist() == [0, 1, 2]
    assert len(set(drawn_rows(1000, [5], 100, 1))) == 100


def test_no_speaker_is_read(experiment):
    expected = render(read_iteration(experiment), Options()).html
    (experiment / "data" / "train" / "speakers.parquet").write_text("no table at all")
    assert render(read_iteration(experiment), Options()).html == expected


@pytest.mark.parametrize(
    "missing",
    ["iter_1/embeddings/train", "iter_1/pseudo_labels", "iter_0/pseudo_labels", "iter_1/losses", "iter_1/gate", "data/train/manifest"],
)
def test_a_run_that_is_not_finished_is_refused(experiment, capsys, missing):
    file = experiment / f"{missing}.parquet"
    file.unlink()
    status, _, problem = told(capsys, experiment, "--iteration", 1)
    assert status == 2 and problem.count("\n") == 1
    assert f"{file} does not exist" in problem and f"snakemake --configfile FILE --cores 1 --rerun-incomplete -- {file}" in problem


def test_other_bad_input_is_refused(experiment, capsys, tmp_path):
    for arguments, words in [
        ([experiment, "--iteration", 7], "no iteration 7: its iterations are 0 (stage I) to 1"),
        ([experiment, "--iteration", -1], "no iteration -1"),
        ([tmp_path / "nowhere"], "settings.json does not exist: name the folder of an experiment"),
        ([experiment, "--output", "page.pdf"], ".html"),
    ]:
        status, _, problem = told(capsys, *arguments)
        assert status == 2 and words in problem
    (experiment / "data" / "train" / "audio-1.pt").unlink()
    assert "audio-1.pt does not exist" in told(capsys, experiment)[2]


def test_artifacts_of_other_utterances_are_refused(experiment, capsys):
    table = pd.read_parquet(experiment / "iter_1" / "pseudo_labels.parquet")
    write_table(experiment / "iter_1" / "pseudo_labels.parquet", table.iloc[1:])
    status, _, problem = told(capsys, experiment)
    assert status == 2 and "pseudo_labels.parquet and" in problem and "not about the same utterances" in problem


def test_the_last_iteration_with_clusters_is_the_default(experiment, capsys):
    (experiment / "iter_1" / "pseudo_labels.parquet").unlink()
    status, output, _ = told(capsys, experiment, "--output", experiment / "page.html")
    assert status == 0 and "40 of 40 utterances" in output
    assert "iteration 0" in (experiment / "page.html").read_text(encoding="utf-8")


def test_pip_installs_the_template_and_the_script():
    patterns = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["selfsv.explore"]
    folder = REPOSITORY / "selfsv" / "explore"
    installed = {path.name for pattern in patterns for path in folder.glob(pattern)}
    assert installed == {path.name for path in folder.iterdir() if path.is_file() and path.suffix != ".py"} == {TEMPLATE, SCRIPT}
