"""What was tuned further, in the report: beside the other systems, and as a table of what labels bring."""

import re

import pytest

from selfsv.report.collect import Results
from selfsv.report.finetuning import finetuning
from selfsv.report.page import render
from tests.reporting.conftest import settings, write_experiment

FINETUNE = {"corpus": "labelled", "starts": ["iter_1", "random"], "percent": [20, 5]}
CORPORA = {name: {"layout": "voxceleb", "path": f"/data/{name}"} for name in ("train", "test", "labelled")}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory) -> Results:
    """An experiment with a large margin and four systems that were told labels."""
    experiment = settings(finetune=FINETUNE, large_margin={"enabled": True}, corpora=CORPORA, rounds=1)
    return write_experiment(tmp_path_factory.mktemp("tuned") / "synthetic", experiment)


@pytest.fixture(scope="module")
def page(tuned: Results) -> str:
    return render(tuned)


def test_all_systems_stand_in_the_table_of_results(page):
    table = page.split('<section id="results"')[1].split("</section>")[0]
    for name in ("large margin", "DLG-LC round 1, 5 % labelled", "random weights, 20 % labelled"):
        assert f'<tr><th scope="row">{name}</th>' in table, name
    assert table.count('<tr class="baseline">') == 6  # three on each list


def test_rates_are_shown_by_start_and_part(tuned, page):
    metrics = tuned.metrics()
    assert metrics is not None
    eer = metrics[(metrics["trials"] == "demo") & (metrics["norm"] == "cosine")].set_index("system")["eer"]
    shown = finetuning(tuned, metrics)
    assert shown is not None and shown["percent"] == [0, 5, 20]
    rows = {(row["start"], row["norm"]): row["cells"] for row in shown["lists"][0]["rows"]}
    for start, untuned, name in (("iter_1", "iter_1", "DLG-LC round 1"), ("random", "baseline_untrained", "random weights")):
        systems = [untuned, f"finetuned_{start}_5", f"finetuned_{start}_20"]
        assert rows[name, "cosine"] == [f"{100 * eer[system]:.2f}" for system in systems]
    section = page.split('<section id="finetuning"')[1].split("</section>")[0]
    assert section.count("<svg") == 2
    for text in ("These systems were told who speaks", "Table VI, Vox-O", "2.393", "6.893"):
        assert text in section, text


def test_the_page_says_where_labels_were_used(page):
    text = re.sub(r"<[^>]+>", "", page)
    assert "Nothing in training used a speaker label, but for the systems under “A few labels”." in text
    assert "Speaker labels enter in two more places only" in text


def test_pseudo_labels_are_those_of_what_knows_no_speakers(page):
    section = page.split('<section id="clusters"')[1].split("</section>")[0]
    assert "large margin" in section and "labelled" not in section
