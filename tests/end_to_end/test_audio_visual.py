"""The audio-visual loop on a cut of the demo: voices and faces from the same MP4 files, some of them hostile, to the report."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from selfsv.artifacts import read_face_embeddings
from tests.cut import finished, overlay_for
from tests.vision.conftest import write_video

BLANK = "id-without-face/session/00001"
SILENT = "id-without-face/session/00002"


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """The loop, as a user runs it, on videos of the cut and on two that lack a face, or sound."""
    folder = tmp_path_factory.mktemp("audio-visual")
    overlay = overlay_for(folder, faces=True, experiment="seen", baselines=False)
    speech = np.random.default_rng(1).normal(scale=2000, size=3 * 16000).astype(np.int16)
    write_video(folder / f"videos/mp4/{BLANK}.mp4", [np.full((120, 160, 3), 80, np.uint8)] * 3, 1, speech)
    write_video(folder / f"videos/mp4/{SILENT}.mp4", [np.full((120, 160, 3), 80, np.uint8)] * 3, 1)
    return finished(folder, overlay)


def test_sound_comes_from_the_videos(results):
    manifest = pd.read_parquet(results / "data/train/manifest.parquet").set_index("utterance")
    assert manifest["path"].str.endswith(".mp4").all()
    assert manifest.loc[SILENT, "reason"].startswith("not audio")
    assert (manifest.drop(index=SILENT)["status"] == "ok").all()


def test_faces_are_found_in_nearly_all_videos(results):
    found = pd.read_parquet(results / "data/train/face_manifest.parquet").set_index("utterance")
    assert found.loc[[BLANK, SILENT], "reason"].str.startswith("no face").all()
    assert (found.drop(index=[BLANK, SILENT])["status"] == "ok").mean() > 0.95


def test_artifacts_keep_their_contract(results):
    columns = {
        "data/train/faces.parquet": ["utterance", "time_s", "probability", "landmarks", "image", "shard", "offset", "num_bytes"],
        "iter_0/embeddings/train.parquet": ["utterance", "embedding"],
        "iter_1/embeddings/train.parquet": ["utterance", "embedding", "face_embedding"],
        "iter_1/embeddings/test.parquet": ["utterance", "embedding"],
        "iter_0/pseudo_labels.parquet": ["utterance", "label", "similarity"],
        "iter_1/pseudo_labels.parquet": ["utterance", "label", "similarity", "has_face"],
        "iter_2/losses.parquet": ["utterance", "loss_clean", "decision", "face_loss_clean", "face_decision"],
    }
    assert {name: pq.read_schema(results / name).names for name in columns} == columns


def test_an_utterance_without_a_face_is_labelled_but_not_trained_on(results):
    labels = pd.read_parquet(results / "iter_1/pseudo_labels.parquet").set_index("utterance")
    assert not labels.loc[BLANK, "has_face"]
    losses = pd.read_parquet(results / "iter_2/losses.parquet").set_index("utterance")
    assert BLANK not in losses.index
    assert set(losses.index) == set(labels.index[labels["has_face"]])
    names = pd.read_parquet(results / "iter_1/embeddings/train.parquet", columns=["utterance"])["utterance"]
    seen = np.isfinite(read_face_embeddings(results / "iter_1/embeddings/train.parquet")).all(axis=1)
    np.testing.assert_array_equal(seen, labels.loc[names, "has_face"])


def test_each_modality_has_its_gate(results):
    gate = pd.read_parquet(results / "iter_1/gate.parquet")
    assert gate.groupby("modality").size().to_dict() == {"audio": 4, "face": 4}
    np.testing.assert_allclose(gate[["reliable", "corrected", "dropped"]].sum(axis=1), 1.0)
    last = gate[gate["epoch"] == 3].set_index("modality")
    assert last["tau1"].notna().any()
    assert last.loc["audio", "reliable"] == last.loc["face", "reliable"]  # with a face everywhere, reliable for both or for none
    assert last.loc["audio", "agreed"] == last.loc["face", "agreed"]


def test_both_models_load_as_plain_tensors(results):
    face = torch.load(results / "iter_2/face_model.pt", weights_only=True)
    assert face["face_encoder"]["width"] == 4 and face["provenance"]["stage"] == "train_av"
    assert torch.load(results / "iter_2/model.pt", weights_only=True)["encoder"]["channels"] == 16


def test_labels_of_each_modality_are_compared(results):
    quality = pd.read_parquet(results / "iter_1/modality_quality.parquet")
    assert quality["modality"].tolist() == ["audio", "face", "joint"]
    assert quality[["nmi", "purity"]].gt(0).all(axis=None)


def test_the_report_shows_faces(results):
    page = (results / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") > 5
    for expected in ("voices and faces", "no face"):
        assert expected in page
