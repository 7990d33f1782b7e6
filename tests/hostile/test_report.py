"""Markup in every text that can reach the page: shown as text, wherever it stands."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import torch

from selfsv.artifacts import read_table, write_table
from selfsv.errors import InputError
from selfsv.report.collect import Results
from selfsv.report.drawing import draw, inline
from selfsv.report.page import render
from selfsv.settings.experiment import Experiment
from tests.reporting.audio_visual import audio_visual_settings, write_audio_visual
from tests.reporting.conftest import settings, write_experiment

BREAKS_OUT = """"'><script>pwned()</script><img src=x onerror=pwned()></text></svg>\\1 $x$ {{ 7 * 191 }} javascript:pwned()"""
ELEMENTS = {"script", "iframe", "object", "embed", "form", "base", "foreignobject", "animate", "set"}


class Page(HTMLParser):
    """What a browser would run or load of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.active: list[str] = []
        self.text: list[str] = []
        self.titles: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in ELEMENTS:
            self.active.append(tag)
        self.titles += [str(value) for name, value in attributes if tag == "img" and name == "title"]
        for name, value in attributes:
            address = name in ("href", "src", "xlink:href", "action", "formaction", "srcset", "data")
            if name.startswith("on") or (address and not str(value).startswith(("#", "data:image/jpeg;base64,", "data:,"))):
                self.active.append(f"{tag} {name}={value}")

    def handle_data(self, text: str) -> None:
        self.text.append(text)


def hostile_everywhere(folder: Path) -> None:
    """Every text in every table and model below `folder` becomes hostile, except those that only choose among known words."""
    known = {"system", "trials", "norm", "modality", "status"}
    for path in folder.rglob("*.parquet"):
        table = read_table(path)
        for column in set(table.columns) - known:
            if pd.api.types.is_string_dtype(table[column]) or table[column].map(type).eq(str).any():
                table[column] = [text and f"{text}{BREAKS_OUT}" for text in table[column]]
        write_table(path, table)
    for system in ("iter_0", "iter_1"):
        (folder / system).mkdir(exist_ok=True)
        torch.save({"provenance": {BREAKS_OUT: BREAKS_OUT, "nested": {BREAKS_OUT: [BREAKS_OUT]}}}, folder / system / "model.pt")


def hostile_settings() -> Experiment:
    """Hostile in every free text of the configuration: names are plain words, paths may be anything."""
    corpora = {name: {"layout": "voxceleb", "path": BREAKS_OUT, "video": [BREAKS_OUT]} for name in ("train", "test")}
    trials = {name: {"corpus": "test", "path": BREAKS_OUT} for name in ("demo", "vox1_o_clean")}
    return settings(
        corpora=corpora, trials=trials, initial_model=BREAKS_OUT, noise={"path": BREAKS_OUT}, rirs={"path": BREAKS_OUT}, rounds=1
    )


def test_markup_is_text_everywhere_in_the_page(tmp_path):
    experiment = hostile_settings()
    write_experiment(tmp_path / "x", experiment, warning=BREAKS_OUT)
    hostile_everywhere(tmp_path / "x")
    text = render(Results(tmp_path / "x", experiment))
    page = Page(text)
    assert not page.active
    assert "<script>pwned()" in "".join(page.text), "the hostile text should be there, as text"
    assert "1337" not in text, "a template inside a text was carried out"
    assert text.count("</svg>") == text.count("<svg")


def test_tables_name_only_what_the_experiment_has(tmp_path):
    """The names in metrics.parquet become headings, ids and paths of score files."""
    experiment = settings(rounds=1)
    results = write_experiment(tmp_path / "x", experiment)
    metrics = read_table(tmp_path / "x" / "metrics.parquet")
    forged = [metrics.assign(trials=name) for name in ("../../../secret", BREAKS_OUT)] + [metrics.assign(system=BREAKS_OUT)]
    write_table(tmp_path / "x" / "metrics.parquet", pd.concat([metrics, *forged]))
    found = results.metrics()
    assert found is not None and len(found) == len(metrics)


@pytest.mark.parametrize("content", [{}, [], 7, {"provenance": 5}, {"provenance": {5: "x"}}, {"provenance": None}], ids=repr)
def test_a_model_that_says_nothing_of_its_origin_is_refused(tmp_path, content):
    (tmp_path / "iter_0").mkdir()
    torch.save(content, tmp_path / "iter_0" / "model.pt")
    with pytest.raises(InputError, match=r"iter_0/model\.pt"):
        Results(tmp_path, settings()).provenance("iter_0")


def test_labels_that_cannot_be_drawn_are_refused(tmp_path):
    write_table(tmp_path / "iter_0" / "pseudo_labels.parquet", pd.DataFrame({"utterance": ["a"], "label": [2**40]}))
    with pytest.raises(InputError, match=r"pseudo_labels\.parquet, row 1"):
        Results(tmp_path, settings()).labels("iter_0")


@pytest.mark.parametrize("text", [BREAKS_OUT, "\\g<0>", "a\x1b\x00b", "]]>", "--><b>", "&lt;b&gt;"])
def test_figures_escape_their_names_descriptions_and_texts(text):
    def plot(axes):
        axes.plot([0, 1], [0, 1], label=text)
        axes.set(xlabel=text, ylabel=text, title=text)
        axes.legend(title=text)
        axes.annotate(text, (0.5, 0.5))

    figure = str(draw(text, text, plot))
    assert not Page(figure).active
    ids = re.findall(r'\bid="([^"]+)"', figure)
    assert ids and all(re.fullmatch(r"[\w.-]+", name) for name in ids)
    assert set(re.findall(r"url\(#([^)]+)\)", figure)) <= set(ids)
    assert figure.count("<svg") == 1 and figure.count("</svg>") == 1


def test_two_names_never_share_an_id():
    svg = '<svg viewBox="0 0 1 1"><clipPath id="p"/><path clip-path="url(#p)"/></svg>'
    pages = [str(inline(svg, name, "")) for name in ("a b", "a_b", "a<b", "a-b", "a\\1b", "a_20_b")]
    ids = {re.findall(r'\bid="([^"]+)"', page)[0] for page in pages}
    assert len(ids) >= len(pages) - 1


def test_faces_of_hostile_utterances_are_pictures(tmp_path):
    results = write_audio_visual(tmp_path / "x", audio_visual_settings())
    hostile_everywhere(tmp_path / "x")
    page = Page(render(results))
    assert not page.active
    assert page.titles and all("<script>pwned()" in title for title in page.titles)
