"""The report in detail: every figure, what is cut and how, the paper's figures beside it, and its measures in a browser."""

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfsv.artifacts import write_table
from selfsv.report import figures
from selfsv.report.collect import Results
from selfsv.report.corpora import corpus_summary, repeat_probability
from selfsv.report.error_rates import headline
from selfsv.report.page import render
from selfsv.report.paper import counterparts
from selfsv.report.trainings import training_panels, warnings
from selfsv.scoring.error_rates import operating_points
from selfsv.scoring.systems import title
from tests.reporting.conftest import REASON, SPEAKERS, UTTERANCES, settings, write_experiment

SECTIONS = ("results", "rounds", "det", "gate", "clusters", "unlabelled", "training", "data", "labels", "config")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OFF = ("gpu", "quic", "background-networking", "component-update", "sync")
FLAGS = ("--headless", "--no-sandbox", "--no-first-run", "--hide-scrollbars", *(f"--disable-{part}" for part in OFF))


def test_every_section_is_there_with_its_figures(page):
    assert re.findall(r'<section id="(\w+)"', page) == list(SECTIONS)
    # 2 lists × (EER, 2 × DET, 2 × scores), 3 rounds × 3 of the gate, agreement, 7 cluster sizes, 4 trainings × 5
    assert page.count("<svg") == 10 + 9 + 1 + 7 + 20
    for text in ("fbank statistics", "untrained encoder", "CA-DINO", "DLG-LC round 3", "ln K = 8.32", "τ₁ = 1.85", "Vox-H", "6.918"):
        assert text in page, text


def test_the_table_shows_the_metrics(results, page):
    metrics = results.metrics()
    assert metrics is not None
    rows = re.findall(r'<tr[^>]*><th scope="row">DLG-LC round 2</th>(.*?)</tr>', page)
    shown = re.findall(r"<td[^>]*>([\d.]+)<small>([\d.]+) to ([\d.]+)</small></td>", rows[0])
    of_list = metrics[(metrics["system"] == "iter_2") & (metrics["trials"] == "demo")].set_index("norm")
    expected = []
    for measure, scale, digits in (("eer", 100, 2), ("min_dcf", 1, 3), ("min_dcf_p05", 1, 3)):
        for norm in ("cosine", "snorm"):
            names = (measure, f"{measure}_low", f"{measure}_high")
            expected.append(tuple(f"{scale * of_list.loc[norm, name]:.{digits}f}" for name in names))
    assert shown == expected
    assert f"resampling the {SPEAKERS} speakers" in page


def metrics_and_comparisons(costs: dict[str, float], shown: set[tuple[str, str]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Systems with these EERs by cosine and s-norm, and the pairs whose difference is shown; their other figures are alike."""
    same = {
        "min_cllr": 0.5,
        "trials": "t",
        "targets": 1,
        "nontargets": 1,
        "min_dcf": 0.5,
        "min_dcf_p05": 0.5,
        "resampled": "speakers",
        "units": 9,
    }
    ends = {f"{measure}_{end}": np.nan for measure in ("eer", "min_dcf", "min_dcf_p05") for end in ("low", "high")}
    rows = [
        {"system": system, "iteration": None, "norm": norm, "eer": eer, **same, **ends}
        for system, eer in costs.items()
        for norm in ("cosine", "snorm")
    ]
    pairs = [
        {"system_a": a, "system_b": b, "trials": "t", "norm": norm, "measure": measure, "shown": (a, b) in shown and measure == "eer"}
        for b, a in combinations(costs, 2)
        for norm in ("cosine", "snorm")
        for measure in ("eer", "min_dcf", "min_dcf_p05")
    ]
    return pd.DataFrame(rows), pd.DataFrame(pairs)


@pytest.mark.parametrize(
    ("costs", "shown", "marked"),
    [
        ({"iter_0": 0.3, "iter_1": 0.2, "iter_2": 0.1}, {("iter_2", "iter_1")}, "DLG-LC round 2"),
        ({"iter_0": 0.3, "iter_1": 0.1, "iter_2": 0.2}, {("iter_2", "iter_1")}, "DLG-LC round 1"),  # the pair the other way round
        ({"iter_0": 0.3, "iter_1": 0.2, "iter_2": 0.1}, {("iter_2", "iter_0")}, None),  # better than the worst, not than the next
        ({"iter_0": 0.3, "iter_1": 0.2, "iter_2": 0.1}, set(), None),
        ({"baseline_untrained": 0.1, "iter_0": 0.2}, {("iter_0", "baseline_untrained")}, None),  # nothing that was trained is the best
        ({"baseline_untrained": 0.2, "iter_0": 0.1}, {("iter_0", "baseline_untrained")}, "stage I"),
        ({"iter_0": 0.3}, set(), None),  # nothing to be better than
    ],
)
def test_the_best_is_marked_only_where_that_is_shown(costs, shown, marked):
    [table] = headline(*metrics_and_comparisons(costs, shown), title)
    assert [row["system"] for row in table["rows"] if row["cells"][0][2]] == ([marked] if marked else [])
    assert not any(cell[2] for row in table["rows"] for cell in row["cells"][2:])  # nothing is shown of the other measures


def test_without_comparisons_nothing_is_marked():
    [table] = headline(metrics_and_comparisons({"iter_0": 0.3, "iter_1": 0.1}, {("iter_1", "iter_0")})[0], None, title)
    assert not any(cell[2] for row in table["rows"] for cell in row["cells"])


def test_differences_are_told_with_their_interval_and_what_they_show(results, page):
    comparisons = results.comparisons()
    assert comparisons is not None
    of = comparisons.set_index(["trials", "measure", "norm", "system_a", "system_b"])
    text = page[page.index("What is better than what, on demo") :]
    for system, reference in (("iter_2", "iter_1"), ("iter_3", "iter_0"), ("iter_3", "baseline_fbank")):
        row = of.loc[("demo", "eer", "cosine", system, reference)]
        line = re.search(rf'<th scope="row">{results.title(system)}</th><td[^>]*>{results.title(reference)}</td>(.*?)</tr>', text)
        assert line
        signed = [f"{100 * row[name]:+.2f}".replace("-", "−") for name in ("difference", "low", "high")]
        assert f"<td>{signed[0]}<small>{signed[1]} to {signed[2]}</small></td>" in line[1]
        assert (">better<" if row["shown"] else ">not shown<") in line[1]


def test_conditions_are_shown_as_their_file_has_them(results, page):
    conditions = results.conditions()
    assert conditions is not None
    rows = conditions[(conditions["system"] == "iter_3") & (conditions["trials"] == "demo")]
    assert set(rows["condition"]) == {"duration of the shorter side", "gender"}
    text = page[page.index("By condition, on demo") : page.index("By condition, on vox1_o_clean")]
    assert text.count("<tr><th scope") == 1 + len(rows) / 2  # below a head
    women = rows[(rows["value"] == "f") & (rows["norm"] == "cosine")].iloc[0]
    shown = f"<td>{100 * women['eer']:.2f}<small>{100 * women['eer_low']:.2f} to {100 * women['eer_high']:.2f}</small></td>"
    assert f">f</td><td>{women['targets']}</td><td>{women['nontargets']}</td><td>{women['units']}</td>{shown}" in text


def test_quality_without_labels_has_a_column_per_iteration(page):
    section = page[page.index('<section id="unlabelled"') : page.index('<section id="training"')]
    [head] = re.findall(r"<thead>(.*?)</thead>", section)
    assert re.findall(r'<th scope="col"[^>]*>(.*?)</th>', head) == ["measure", "CA-DINO", "round 1", "round 2", "round 3", "how to read it"]
    rows = dict(re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', section))
    cells = {name: re.findall(r"<td>(.*?)</td>", row) for name, row in rows.items()}
    assert cells["EER on parts of recordings, %"][1] == "18.77<small>s-norm 18.77</small>"
    assert cells["Stability between rounds, ARI"][:2] == ["–", "0.500<small>NMI 0.700</small>"]
    assert cells["Labels that the gate trusts, %"][3] == "80.0<small>corrected 15.0</small>"
    assert all(len(row) == 4 for row in cells.values()) and all('<td class="wrap aside">' in row for row in rows.values())
    assert "2,000 target and 19,876 non-target trials" in section


def test_quality_without_labels_begins_with_what_to_doubt(tmp_path, page):
    assert "may have learnt nothing" not in page
    results = write_experiment(tmp_path, settings(rounds=1), warning="COLLAPSE: the teacher's output is uniform")
    path = results.folder / "iter_0" / "diagnosis.parquet"
    write_table(path, pd.read_parquet(path).assign(doubts="the clusters are <b>"))
    section = render(results).partition('<section id="unlabelled"')[2].partition("<table")[0]
    notices = re.findall(r"<strong>(.*?) may have learnt nothing:</strong> (.*?)\.</div>", section)
    ended = "its training ended in a collapse: the teacher&#39;s output is uniform"
    assert notices == [("CA-DINO", "the clusters are &lt;b&gt;"), ("DLG-LC round 1", ended)]


def test_intervals_of_few_talkers_come_with_a_warning():
    metrics, comparisons = metrics_and_comparisons({"iter_0": 0.3, "iter_1": 0.1}, set())
    [few], [many] = headline(metrics, comparisons, title), headline(metrics.assign(units=30), comparisons, title)
    assert "fewer than 30 speakers the intervals are too narrow" in few["caveat"] and many["caveat"] == ""


def test_the_threshold_in_a_histogram_is_where_errors_are_equal():
    """Of scores in steps of one: a target below 5, a non-target above 4, and 100 of each where they belong."""
    scores = np.concatenate([np.full(100, 8.0), [2.0], np.full(100, 1.0), [7.0]])
    drawn = str(figures.score_histogram("name", "text", scores, np.repeat([True, False], 101)))
    places = [float(x) for x in re.findall(r"M ([\d.]+) [\d.]+ \nL \1 [\d.]+", drawn)]
    assert len(places) > 1 and "targets" in drawn and "non-targets" in drawn


def test_a_list_on_which_settings_were_tried_out_is_named(tmp_path):
    trials = {name: {"corpus": "test", "path": "x", "tuned_on": name == "demo"} for name in ("demo", "other")}
    page = render(write_experiment(tmp_path, settings(rounds=0, trials=trials)))
    assert page.count("Settings were tried out on these very trials") == 1
    assert "tried out on the trials of demo</strong>" in page and "this page cannot know" not in page


def test_small_losses_are_shown_as_the_gate_sees_them():
    """The mixture drawn over the histogram was fitted to losses down to the gate's own smallest; none may pile up above it."""
    losses = np.full(1000, 1e-20, np.float32)
    mixture = {f"{part}_{number}": 1.0 for part in ("weight", "variance") for number in (1, 2)} | {"mean_1": -46.0, "mean_2": 0.0}
    drawn = figures.loss_histogram("name", losses, pd.Series({**mixture, "tau1": 1.0}))
    ticks = [float(text) for text in re.findall(r">(-?[\d.]+)</text>", str(drawn))]
    assert min(ticks) <= -40


def test_the_page_does_not_claim_to_know_how_the_settings_were_chosen(page):
    section = page[page.index('<section id="labels"') : page.index('<section id="config"')]
    assert "while this run was under way" in section
    assert "If they were tried out on these very trials" in section


def test_warnings_come_first_and_loudly(results, page):
    [(system, epochs, text)] = warnings(results)
    assert (system, epochs) == ("DLG-LC round 1", "epochs 22–24")
    assert text == "the gate keeps nearly everything (99.95 % reliable): it selects nothing"
    assert page.index("1 warning from the trainings") < page.index('<section id="results"')
    assert 'role="alert"' in page


def test_ids_are_unique_and_references_resolve(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    references = re.findall(r'href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page)
    assert set(references) <= set(ids)


def test_rejected_files_are_counted_by_reason_and_cut(results, page):
    train = corpus_summary(results, "train")
    assert train is not None
    assert (train["utterances"], train["rejected"]) == (UTTERANCES - 47, 47)
    assert train["reasons"] == [("too short: … s", 16), ("silent", 16), (REASON, 15)]
    assert len(train["examples"]) == 20
    assert "The first 20 files (27 more are left out)" in page


def test_every_loss_of_a_history_is_drawn_under_its_name(results, page, tmp_path):
    """Also one that the report has never heard of; one that is 0 throughout is left out."""
    shutil.copytree(results.folder, tmp_path / "other")
    path = tmp_path / "other" / "iter_0" / "history.parquet"
    write_table(path, pd.read_parquet(path).assign(loss_new_idea=0.5, loss_cosine=0.0))
    (loss, *_) = training_panels(Results(tmp_path / "other", results.settings), "iter_0")["panels"]
    assert "new idea" in loss.figure and "cosine" not in loss.figure
    assert "25 % of the gradients of single tensors were clipped" in page and "25 % of the steps were clipped" in page


def test_stage_one_is_called_what_it_was(results):
    """Everywhere but in what the paper reports."""
    moco = {"method": "momentum_contrast", "cluster_aware": {"partners": "none"}}
    text = render(Results(results.folder, settings(pretrain=moco)))
    published = text[text.index("For context: the paper on VoxCeleb") :].partition("</table>")[0]
    assert "CA-DINO" in published and "CA-DINO" not in text.replace(published, "")
    for place in ("<span>MoCo and 3 DLG-LC rounds</span>", '<th scope="row">MoCo</th>', "round (0 = MoCo)", "Round 0 is MoCo"):
        assert place in text, place


def test_a_training_without_prototypes_has_no_entropies(results, tmp_path):
    shutil.copytree(results.folder, tmp_path / "other")
    path = tmp_path / "other" / "iter_0" / "history.parquet"
    write_table(path, pd.read_parquet(path).drop(columns=["teacher_entropy", "student_entropy"]))
    panels = training_panels(Results(tmp_path / "other", results.settings), "iter_0")["panels"]
    assert [panel.heading for panel in panels] == ["Loss", "Learning rate", "Gradient", "Throughput"]
    assert "ln K" not in panels[0].figure


def test_the_level_of_a_collapse_is_that_of_the_objectives_prototypes(results):
    sdpn = settings(pretrain={"method": "sdpn", "sdpn": {"prototypes": 100}})
    loss, entropies, *_ = training_panels(Results(results.folder, sdpn), "iter_0")["panels"]
    assert "ln K = 4.61" in loss.figure and "ln K = 4.61" in entropies.figure


def test_files_that_nobody_looked_at_are_counted(results, page):
    assert "left out 1,203 files with other endings (1,200 .shn, 3 &lt;b&gt;)" in page
    assert page.count("with other endings") == 1  # the test corpus has none


def test_the_page_does_not_grow_with_the_corpus(results, page, tmp_path):
    shutil.copytree(results.folder, tmp_path / "large")
    large = Results(tmp_path / "large", results.settings)
    utterances = 100 * UTTERANCES
    losses = np.random.default_rng(0).lognormal(size=utterances).astype(np.float32)
    write_table(large.folder / "iter_1" / "losses.parquet", pd.DataFrame({"loss_clean": losses}))
    labels = np.random.default_rng(0).integers(0, 5000, utterances)
    write_table(large.folder / "iter_1" / "pseudo_labels.parquet", pd.DataFrame({"label": labels}))
    assert len(render(large)) < 1.1 * len(page)


def test_det_curves_are_thinned_without_losing_their_shape():
    generator = np.random.default_rng(0)
    target = generator.random(100_000) < 0.5
    miss, false_alarm = operating_points(generator.normal(size=100_000) + 2 * target, target)
    x, y = figures.det_points(miss, false_alarm, -4)
    assert len(x) < 800
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) <= 0).all()
    inside = (np.abs(x) < 2) & (np.abs(y) < 2.5)
    np.testing.assert_allclose(y[inside], -x[inside] - 2, atol=0.1)  # equal normal distributions give a straight line


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"rounds": 0}, ["asks for no DLG-LC rounds"]),
        ({"rounds": 1, "baselines": False, "trials": {}, "train": {"gate": {"mode": "none"}}}, ["names no trial lists", "The gate is off"]),
    ],
)
def test_optional_parts_may_be_absent(tmp_path, changes, missing):
    page = render(write_experiment(tmp_path, settings(**changes)))
    assert all(text in page for text in missing)
    assert ("untrained encoder" in page) == changes.get("baselines", True)
    assert "No training gave a warning" in page


def test_a_run_that_has_not_begun_has_a_page(tmp_path):
    page = render(Results(tmp_path, settings()))
    for text in (
        "have not been scored yet",
        "Nothing has been trained yet",
        "Nothing has been clustered yet",
        "Nothing has been measured without labels yet",
        "No corpus has been read yet",
    ):
        assert text in page


def test_unknown_speakers_leave_agreement_out(tmp_path):
    unlabelled = write_experiment(tmp_path, settings(rounds=0, trials={}))
    for system in unlabelled.systems:
        sizes = {"system": system, "clusters": 60, "largest": 9, "smallest": 1, "empty": 0}
        row = {**sizes, "nmi": np.nan, "purity": np.nan, "utterances_with_speaker": 0}
        write_table(unlabelled.folder / system / "cluster_quality.parquet", pd.DataFrame([row]))
    write_table(unlabelled.folder / "data" / "train" / "speakers.parquet", pd.DataFrame({"utterance": [], "speaker": []}, dtype=str))
    page = render(unlabelled)
    assert "The speakers of the training corpus are not known" in page
    assert "Probability that a batch" not in page


def test_repeats_at_the_edges():
    assert repeat_probability(10, 1) == 0
    assert repeat_probability(10, 11) == 1
    assert repeat_probability(365, 23) == pytest.approx(0.5073, abs=1e-4)  # the birthday problem


@pytest.mark.parametrize(
    ("trials", "names"),
    [
        ("vox1_o_clean", ["Vox-O"]),
        ("vox-e", ["Vox-E"]),
        ("VoxCeleb1_H", ["Vox-H"]),
        ("demo", ["Vox-O", "Vox-E", "Vox-H"]),
        ("vox_other", ["Vox-O", "Vox-E", "Vox-H"]),
    ],
)
def test_lists_are_set_beside_their_counterparts_in_the_paper(trials, names):
    assert [published.name for published in counterparts(trials)] == names


# In a browser ---------------------------------------------------------------------------------------------------------

MEASURE = """
<script>
addEventListener("load", () => {
  const figures = [...document.querySelectorAll("svg.figure")].map(figure => {
    const box = figure.getBoundingClientRect(), drawn = figure.getBBox();
    return {name: figure.getAttribute("aria-label"), width: box.width, height: box.height, drawn: drawn.width * drawn.height};
  });
  const requests = performance.getEntriesByType("resource").map(entry => entry.name);
  const found = {figures, requests, overflow: document.documentElement.scrollWidth - innerWidth, images: document.images.length};
  document.body.innerHTML = "";
  document.body.append(Object.assign(document.createElement("pre"), {id: "measured", textContent: JSON.stringify(found)}));
});
</script>
"""


def chromium(folder: Path, page: Path, *options: str) -> str:
    profile = folder / "profile"
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the page is not looked at in a browser")
@pytest.mark.parametrize("width", [1280, 520])
def test_a_browser_shows_every_figure_and_loads_nothing(page, tmp_path, width):
    # The page forbids scripts, so its copy is measured with that one line taken out.
    measured = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page).replace("</body>", f"{MEASURE}</body>")
    copy = tmp_path / "measured.html"
    copy.write_text(measured, encoding="utf-8")
    document = chromium(tmp_path, copy, f"--window-size={width},900", "--dump-dom")
    text = re.search(r'<pre id="measured">(.*?)</pre>', document, re.DOTALL)
    assert text, document[:500]
    found = json.loads(text[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    assert found["requests"] == []
    assert found["images"] == 0  # a name's markup would have become one
    assert found["overflow"] <= 0
    assert len(found["figures"]) == page.count("<svg")
    for figure in found["figures"]:
        assert min(figure["width"], figure["height"]) > 100, figure
        assert figure["drawn"] > 1000, figure
