"""Files of every released version of the format are opened, for ever, and mean what they meant."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import selfsv
from selfsv.inference import exported
from selfsv.inference.inspection import described
from tests.conftest import SPEECH

RELEASED = sorted((Path(__file__).parent / "released").iterdir())


def test_there_is_a_file_of_every_version():
    versions = [json.loads((folder / "config.json").read_text())["version"] for folder in RELEASED]
    assert versions == list(range(1, exported.VERSION + 1))


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("folder", RELEASED, ids=lambda folder: folder.name)
def test_it_is_opened_and_means_the_same(folder, alone):
    """On real recordings; to float32's rounding on another machine."""
    expected = json.loads((folder / "expected.json").read_text())
    source = folder / "model.safetensors" if alone else folder
    model = selfsv.load(source, "cpu")
    first, second = (model.embed_file(SPEECH / name).numpy() for name in expected["recordings"])
    np.testing.assert_allclose(np.stack([first, second]), expected["embeddings"], atol=1e-3)
    assert model.compare(first, second) == pytest.approx(expected["cosine"], abs=1e-3)
    assert model.compare(first, second, norm="snorm") == pytest.approx(expected["snorm"], abs=1e-2)
    assert model.llr(first, second, (3.0, 5.0)) == pytest.approx(expected["llr"], abs=2e-2)
    assert model.calibration is not None and model.calibration.doubts == "few pairs"
    assert described(source)["metrics"][0]["eer"] == 0.25


def test_weights_without_a_config_in_their_header_are_opened_in_their_folder(tmp_path):
    """As the first exports of version 1 were written."""
    shutil.copytree(RELEASED[0], tmp_path / "old")
    tensors = load_file(tmp_path / "old" / "model.safetensors")
    save_file(tensors, tmp_path / "old" / "model.safetensors", metadata={"format": "pt"})
    assert selfsv.load(tmp_path / "old", "cpu").fingerprint == selfsv.load(RELEASED[0], "cpu").fingerprint
    with pytest.raises(selfsv.InputError, match="without the config"):
        selfsv.load(tmp_path / "old" / "model.safetensors", "cpu")
