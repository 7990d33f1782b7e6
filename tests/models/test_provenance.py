"""Model files say which code, torch, device and precision they come from; files without that still load."""

import subprocess
from pathlib import Path

import pytest
import torch

from selfsv import __version__, provenance
from selfsv.engine.runtime import Runtime
from selfsv.models.encoders import untrained
from selfsv.models.model_file import load_model, save_model
from selfsv.settings.audio import FeatureSettings
from selfsv.settings.encoder import EncoderSettings

ENCODER = EncoderSettings(channels=16, mfa_channels=24, bottleneck=8, embedding=12, embedding_batchnorm=True)


def git(folder: Path, *arguments: str) -> str:
    options = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *options, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def code(tmp_path, monkeypatch) -> Path:
    """A folder in which the code seems to lie."""
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "provenance.py").write_text("# code\n")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "pipeline" / "provenance.py"))
    provenance.code_version.cache_clear()
    yield tmp_path
    provenance.code_version.cache_clear()


def test_the_commit_and_edits_after_it_are_named(code):
    git(code, "init", "--quiet")
    git(code, "add", ".")
    git(code, "commit", "--quiet", "--message", "one")
    commit = git(code, "rev-parse", "--short", "HEAD")
    assert provenance.code_version() == f"{__version__} ({commit})"
    (code / "pipeline" / "provenance.py").write_text("# edited\n")
    assert provenance.code_version() == f"{__version__} ({commit})"  # as the process began
    provenance.code_version.cache_clear()
    assert provenance.code_version() == f"{__version__} ({commit}-dirty)"


def test_installed_code_knows_its_version_alone(code, monkeypatch):
    git(code.parent, "init", "--quiet")  # someone else's, further up
    assert provenance.code_version() == __version__
    git(code, "init", "--quiet")
    monkeypatch.setenv("PATH", "")
    provenance.code_version.cache_clear()
    assert provenance.code_version() == __version__


def test_a_model_says_what_computed_it_and_one_that_does_not_still_loads(tmp_path):
    runtime = Runtime(torch.device("cpu"), 0, bfloat16=True, compile=False, checkpoint_seconds=1.0)
    weights = untrained(ENCODER, 80, 1, 0).state_dict()
    save_model(tmp_path / "model.pt", ENCODER, FeatureSettings(), weights, stage="train", **runtime.provenance())
    found = load_model(tmp_path / "model.pt").provenance
    assert found["code_version"].startswith(__version__)
    assert (found["torch"], found["device"], found["precision"]) == (torch.__version__, "cpu", "bfloat16")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    content["provenance"] = {"stage": "train", "code_version": "0.1.0"}
    torch.save(content, tmp_path / "old.pt")
    assert load_model(tmp_path / "old.pt").provenance["code_version"] == "0.1.0"
