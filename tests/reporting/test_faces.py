"""The report of an audio-visual experiment: both gates, both networks, the faces found, and nothing but pictures among them."""

import base64
import io
import json
import re
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from selfsv.artifacts import read_table, write_table
from selfsv.errors import InputError
from selfsv.report import collect, figures
from selfsv.report.collect import Results
from selfsv.report.faces import CLUSTER_BYTES, CLUSTERS, FACES, chosen_utterances, cluster_faces, detection, embedded
from selfsv.report.page import render
from selfsv.report.paper import counterparts
from tests.reporting.audio_visual import (
    NAME,
    REASONS,
    REJECTED,
    UTTERANCES,
    audio_visual_settings,
    faces,
    portrait,
    write_audio_visual,
    write_faces,
)
from tests.reporting.conftest import gate
from tests.reporting.test_page import CHROMIUM, SECTIONS, chromium
from tests.reporting.test_report import Page

PICTURE = re.compile(r'<img src="data:image/jpeg;base64,([A-Za-z0-9+/=]*)" width="96" height="112" alt="([^"]*)" title="([^"]*)">')
JPEG = portrait(0)


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> Results:
    """A complete audio-visual experiment."""
    return write_audio_visual(tmp_path_factory.mktemp("seen") / "synthetic", audio_visual_settings())


@pytest.fixture(scope="module")
def seen_page(seen) -> str:
    return render(seen)


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Results:
    """One of a single round without trials, which is sooner drawn."""
    return write_audio_visual(tmp_path_factory.mktemp("short") / "synthetic", audio_visual_settings(rounds=1, trials={}))


@pytest.fixture
def copy(short, tmp_path) -> Results:
    """A copy of the short one, to be changed."""
    shutil.copytree(short.folder, tmp_path / "copy")
    return Results(tmp_path / "copy", short.settings)


def text_of(page: str) -> str:
    """What a reader sees, without style sheet and configuration."""
    page = re.sub(r"<style>.*?</style>|<pre>.*?</pre>", "", page, flags=re.DOTALL)
    return " ".join(" ".join(Page(page).text).split())


def section(page: str, name: str) -> str:
    found = re.search(rf'<section id="{name}">.*?</section>', page, re.DOTALL)
    assert found, name
    return found[0]


def pictures(page: str) -> list[bytes]:
    return [base64.b64decode(data, validate=True) for data, _, _ in PICTURE.findall(page)]


# The page ---------------------------------------------------------------------------------------------------------------


def test_the_page_has_the_section_and_says_what_was_trained_on(seen_page):
    sections = re.findall(r'<section id="(\w+)"', seen_page)
    assert sections == [*SECTIONS[:6], "faces", *SECTIONS[6:]]
    assert '<a href="#faces">Faces</a>' in seen_page
    assert "<span>voices and faces</span>" in seen_page
    ids = re.findall(r'\bid="([^"]+)"', seen_page)
    assert len(ids) == len(set(ids))


def test_the_detection_is_counted(seen, seen_page):
    found = detection(seen)
    assert found is not None
    table = read_table(seen.folder / "data" / "train" / "face_manifest.parquet")
    assert (found["utterances"], found["usable"], found["usable_percent"]) == (UTTERANCES, UTTERANCES - REJECTED, "97.6 %")
    assert (found["frames"], found["detected"], found["kept"]) == tuple(table[["frames", "detected", "faces"]].sum())
    assert found["detected_percent"] == f"{100 * found['detected'] / found['frames']:.1f} %"
    assert found["median"] == "4"
    assert dict(found["reasons"]) == {"no face: none in … frames": 12, "missing: no video": 12, REASONS[2]: 12}
    shown = text_of(section(seen_page, "faces"))
    assert f"with a usable face {UTTERANCES - REJECTED:,} 97.6 %" in shown
    assert f"Without a usable face: {REJECTED} files" in shown
    assert "The first 20 files (16 more are left out)" in shown


def test_nothing_found_is_no_division_by_zero(copy):
    table = read_table(copy.folder / "data" / "train" / "face_manifest.parquet")
    table = table.assign(frames=0, detected=0, faces=0, status="rejected", reason="missing: no video")
    write_table(copy.folder / "data" / "train" / "face_manifest.parquet", table)
    shown = section(render(copy), "faces")
    assert "<td>0</td><td>–</td>" in shown
    assert "to show yet" in shown
    assert pictures(shown) == []


def test_both_gates_are_shown(seen_page):
    gates = section(seen_page, "gate")
    assert re.findall(r"<h4>(\w+)</h4>", gates) == ["Voice", "Face"] * 2
    assert gates.count("<svg") == 2 * 2 * 3
    assert "reliable only if both clean losses are below their own thresholds" in text_of(gates)
    assert gates.count(">agreed</text>") == 4
    assert "τ₁ = 1.85" in gates
    assert "τ₁ = 2.22" in gates


def test_agreed_utterances_are_not_counted_twice():
    table = gate()
    assert list(figures.fractions(table)) == ["reliable", "corrected", "dropped"]
    shares = figures.fractions(table.assign(agreed=0.05 * (table["epoch"] > 10)))
    assert list(shares) == ["reliable", "agreed", "corrected", "dropped"]
    np.testing.assert_allclose(sum(shares.values()), 100)
    np.testing.assert_allclose([shares["agreed"][-1], shares["corrected"][-1]], [5, 7])


@pytest.mark.parametrize(
    ("mode", "shown", "hidden"), [("dlg", "both clean losses", "same class"), ("none", "gate is off", "both clean losses")]
)
def test_the_joint_rule_is_that_of_the_mode(tmp_path, mode, shown, hidden):
    text = text_of(section(render(Results(tmp_path, audio_visual_settings(train={"gate": {"mode": mode}}))), "gate"))
    assert shown in text
    assert hidden not in text


def test_the_modalities_are_compared_per_round(seen_page):
    clusters = section(seen_page, "clusters")
    rows = re.findall(r"<tr( class=\"own\")?>(?:<th[^>]*>([^<]*)</th>)?<td[^>]*>(voices|faces|both)</td>(.*?)</tr>", clusters)
    assert [(row[1], row[2], bool(row[0])) for row in rows] == [
        *[("round 1", "voices", False), ("", "faces", False), ("", "both", True)],
        *[("round 2", "voices", False), ("", "faces", False), ("", "both", True)],
    ]
    assert re.findall(r"<td>([\d.]+)</td>", rows[2][3]) == ["60", "0.890", "0.840"]
    assert clusters.count(">both</text>") == 2


def test_unknown_speakers_leave_the_comparison_without_figures(copy):
    path = copy.folder / "iter_1" / "modality_quality.parquet"
    write_table(path, read_table(path).assign(nmi=np.nan, purity=np.nan, utterances_with_speaker=0))
    clusters = section(render(copy), "clusters")
    assert clusters.count("<td>60</td><td>–</td><td>–</td>") == 3
    assert ">both</text>" not in clusters


def test_the_training_shows_the_face(seen_page):
    training = section(seen_page, "training")
    for text, times in ((">face</text>", 4), (">voice</text>", 4), (">face, clean</text>", 2)):
        assert training.count(text) == times, text


def test_the_paper_is_set_beside_the_run_with_its_table_on_both_modalities(seen_page):
    results = text_of(section(seen_page, "results"))
    assert "Table IX" in results
    assert "Table VIII" not in results
    for text in ("1.537", ".1326", "1.571", ".1688", "2.839", ".2712", "round 3"):
        assert text in results, text
    assert "round 4" not in results
    assert [published.eer_percent[2] for published in counterparts("all", "audio_visual")] == [1.292, 1.571, 2.799]


def test_an_audio_experiment_has_none_of_it(page):
    text = text_of(page)
    for word in ("face", "Face", "video", "agreed", "Table IX", "both networks", "Which embeddings"):
        assert word not in text, word
    assert "<img" not in page
    assert "<h4>" not in page
    assert "#faces" not in page
    assert "Table VIII" in text


def test_files_about_faces_do_not_change_the_page_of_an_audio_experiment(short):
    audio = render(Results(short.folder, audio_visual_settings(modality="audio", rounds=1, trials={})))
    assert "<img" not in audio
    assert 'id="faces"' not in audio
    assert "Which embeddings" not in audio


# Missing files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("data/train/face_manifest.parquet", ["No video has been searched for faces yet", "<img"]),
        ("data/train/faces.parquet", ["with a usable face", "There are no clusters, or no faces, to show yet"]),
        ("iter_1/pseudo_labels.parquet", ["From the pseudo labels of CA-DINO", "<img"]),
        ("iter_1/modality_quality.parquet", ["Sizes of the clusters"]),
        ("iter_1/gate.parquet", ["No round with a gate has been trained", "<img"]),
        ("iter_1/losses.parquet", ["<h4>Face</h4>", "Threshold τ₁"]),
        ("iter_1/history.parquet", ["<h4>Face</h4>", "<img"]),
    ],
)
def test_a_missing_file_leaves_a_page(copy, missing, expected):
    (copy.folder / missing).unlink()
    page = render(copy)
    assert all(text in page for text in expected)


def test_files_of_a_round_on_audio_alone_leave_a_page(copy, results):
    for name in ("gate", "losses", "history"):
        shutil.copy(results.folder / "iter_1" / f"{name}.parquet", copy.folder / "iter_1")
    gates = section(render(copy), "gate")
    assert re.findall(r"<h4>(\w+)</h4>", gates) == ["Voice"]


def test_a_run_that_has_not_begun_has_a_page(tmp_path):
    faces = text_of(section(render(Results(tmp_path, audio_visual_settings())), "faces"))
    assert "No video has been searched for faces yet." in faces
    assert "There are no clusters, or no faces, to show yet." in faces


# Faces of the clusters --------------------------------------------------------------------------------------------------


def test_every_cluster_shows_its_own_faces(seen, seen_page):
    labels = read_table(seen.folder / "iter_2" / "pseudo_labels.parquet").set_index("utterance")["label"]
    table = read_table(seen.folder / "data" / "train" / "faces.parquet", ["utterance", "image"])
    first = table.drop_duplicates("utterance").set_index("utterance")["image"]
    found = cluster_faces(seen)
    assert found is not None
    sizes = [cluster["size"] for cluster in found["shown"]]
    assert len(sizes) == CLUSTERS
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (labels.value_counts().max(), labels.value_counts().min())
    for cluster in found["shown"]:
        names = [utterance for utterance, _ in cluster["faces"]]
        assert len(set(names)) == len(names) == min(FACES, int(first.index.isin(labels.index[labels == cluster["label"]]).sum()))
        assert set(labels[names]) == {cluster["label"]}
        assert [base64.b64decode(image) for _, image in cluster["faces"]] == list(first[names])
    assert len(pictures(seen_page)) == sum(len(cluster["faces"]) for cluster in found["shown"])


def test_pictures_are_jpegs_with_a_text_and_small_together(seen_page):
    assert seen_page.count("<img") == len(PICTURE.findall(seen_page)) > CLUSTERS
    for data in pictures(seen_page):
        picture = Image.open(io.BytesIO(data))
        assert (picture.format, picture.size) == ("JPEG", (96, 112))
    assert sum(len(data) for data, _, _ in PICTURE.findall(seen_page)) < 1_000_000
    assert all(re.match(r"Face \d of cluster \d+, utterance .+", text) for _, text, _ in PICTURE.findall(seen_page))
    assert 4 * CLUSTERS * CLUSTER_BYTES / 3 < 1_000_000


def test_hostile_names_stay_text(seen_page):
    parsed = Page(seen_page)
    assert NAME not in seen_page
    assert NAME in " ".join(parsed.text)
    assert "script" not in parsed.tags
    assert parsed.fetched == []
    assert parsed.tags.count("img") == len(PICTURE.findall(seen_page))


@pytest.mark.parametrize(
    "image",
    [b"\x89PNG\r\n\x1a\n" + JPEG, b"<svg onload=alert()>", b"", b"\xff\xd8", None, JPEG + bytes(CLUSTER_BYTES)],
    ids=["png", "markup", "empty", "cut", "null", "large"],
)
def test_nothing_but_small_jpegs_is_embedded(image):
    assert [name for name, _ in embedded([("a", JPEG), ("b", image), ("c", JPEG)])] == ["a", "c"]


def test_the_page_shows_no_image_that_is_no_jpeg(copy):
    table = faces()
    markup = b"GIF89a<script>alert('pixels')</script>"
    write_faces(copy, table.set_column(table.schema.get_field_index("image"), "image", pa.array([markup] * len(table), pa.binary())))
    page = render(copy)
    assert "<img" not in page
    assert base64.b64encode(markup).decode()[:20] not in page
    assert "There are no clusters, or no faces, to show yet" in page


def test_the_choice_is_spread_and_does_not_depend_on_the_order():
    generator = np.random.default_rng(0)
    labels = pd.DataFrame({"utterance": [f"{index:05d}" for index in range(4000)], "label": generator.geometric(0.02, 4000)})
    chosen = chosen_utterances(labels, None)
    assert chosen == chosen_utterances(labels.sample(frac=1, random_state=1), None)
    sizes = labels["label"].value_counts()
    shown = sizes[list(chosen)].to_numpy()
    assert len(shown) == CLUSTERS
    assert (np.diff(shown) <= 0).all()
    assert (shown[0], shown[-1]) == (sizes.max(), sizes.min())
    largest = next(iter(chosen))
    members = labels.loc[labels["label"] == largest, "utterance"].tolist()
    places = [members.index(utterance) for utterance in chosen[largest]]
    assert len(places) == FACES
    assert np.ptp(np.diff(places)) <= 1
    assert min(places[0], len(members) - places[-1]) < len(members) / FACES


def test_only_utterances_with_a_face_are_chosen():
    labels = pd.DataFrame({"utterance": list("abcdef"), "label": [0, 0, 0, 1, 1, 2]})
    manifest = pd.DataFrame({"utterance": list("abcdef"), "status": ["ok"] * 5 + ["rejected"], "faces": [3, 0, 1, 0, 2, 0]})
    assert chosen_utterances(labels, manifest) == {0: ["a", "c"], 1: ["e"]}
    assert chosen_utterances(labels, manifest.assign(faces=0)) == {}


# Reading the faces ------------------------------------------------------------------------------------------------------


def test_only_row_groups_that_can_hold_an_utterance_are_read(seen, monkeypatch):
    table = read_table(seen.folder / "data" / "train" / "faces.parquet", ["utterance"])["utterance"]
    wanted = [table.iloc[0], table.iloc[len(table) // 2], table.iloc[-1]]
    read, reader = [], collect._first_images
    monkeypatch.setattr(collect, "_first_images", lambda file, group, names: read.append(group) or reader(file, group, names))
    found = seen.first_faces([*wanted, "zz: not there"])
    assert list(found) == wanted
    assert all(image is not None and image.startswith(b"\xff\xd8\xff") for image in found.values())
    groups = len(table) // 200 + 1
    assert read[0] == 0
    assert read[-1] == groups - 1
    assert len(read) <= 4 < groups / 4


def test_the_first_face_is_found_where_an_utterance_spans_row_groups(tmp_path):
    names, images = ["a", "b", "b", "b", "c"], [b"0", b"1", b"2", b"3", b"4"]
    path = tmp_path / "faces.parquet"
    pq.write_table(pa.table({"utterance": names, "image": images}), path, row_group_size=2)
    assert collect.first_faces(path, ["b", "c"]) == {"b": b"1", "c": b"4"}
    pq.write_table(pa.table({"utterance": names, "image": images}), path, row_group_size=2, write_statistics=False)
    assert collect.first_faces(path, ["b", "c"]) == {"b": b"1", "c": b"4"}


def test_a_damaged_file_is_named(copy):
    path = copy.folder / "data" / "train" / "faces.parquet"
    path.write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(InputError, match=r"faces\.parquet cannot be read"):
        render(copy)


# In a browser -----------------------------------------------------------------------------------------------------------

MEASURE = """
<script>
addEventListener("load", () => {
  const images = [...document.images].map(image => [image.naturalWidth, image.naturalHeight, image.getBoundingClientRect().width]);
  const legends = [...document.querySelectorAll("svg.figure")].map(figure => {
    const frame = figure.getBoundingClientRect();
    return Math.max(...[...figure.querySelectorAll("text")].map(text => text.getBoundingClientRect().right)) - frame.right;
  });
  const found = {images, legends, overflow: document.documentElement.scrollWidth - innerWidth};
  document.body.innerHTML = "";
  document.body.append(Object.assign(document.createElement("pre"), {id: "measured", textContent: JSON.stringify(found)}));
});
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the page is not looked at in a browser")
@pytest.mark.parametrize("width", [1280, 520])
def test_a_browser_shows_every_face_and_no_figure_is_cut(seen_page, tmp_path, width):
    document = tmp_path / "measured.html"
    measured = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", seen_page).replace("</body>", f"{MEASURE}</body>")
    document.write_text(measured, encoding="utf-8")
    text = re.search(r'<pre id="measured">(.*?)</pre>', chromium(tmp_path, document, f"--window-size={width},900", "--dump-dom"))
    assert text
    found = json.loads(text[1])
    assert found["images"] == [[96, 112, 60]] * len(PICTURE.findall(seen_page))
    assert found["overflow"] <= 0
    assert max(found["legends"]) < 2
