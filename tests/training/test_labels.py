"""Training never reads a speaker label: not by its code, not by its rules, and not when it runs."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from selfsv.settings.audio import AugmentationSettings, FeatureSettings
from selfsv.settings.clustering import PreparationSettings
from selfsv.settings.encoder import EncoderSettings
from selfsv.settings.jobs import PretrainJob, TrainJob
from selfsv.settings.pretrain import PretrainSettings
from selfsv.settings.section import validated
from selfsv.settings.train import TrainSettings
from workflow.imports import source_files

REPOSITORY = Path(__file__).parents[2]
STAGES = (
    "pack",
    "manifest",
    "noise",
    "rirs",
    "pretrain",
    "ivector",
    "extract",
    "cluster",
    "train",
    "large_margin",
    "videos",
    "faces",
    "face_manifest",
    "train_av",
    "extract_av",
)
COMMON = {
    "seed": 1,
    "features": FeatureSettings(),
    "encoder": EncoderSettings(channels=16, mfa_channels=24, bottleneck=8, embedding=12, embedding_batchnorm=True),
    "augmentation": AugmentationSettings(),
}


@pytest.mark.parametrize("stage", STAGES)
def test_no_code_of_training_knows_the_file(stage):
    for file in source_files(f"pipeline.{stage}", without="selfsv.settings"):
        assert "speakers.parquet" not in Path(file).read_text(encoding="utf-8"), file


def test_what_reads_labels_is_used_by_fine_tuning_alone():
    """And by no stage that the self-supervised systems come from."""
    reader = REPOSITORY / "selfsv" / "data" / "labelled.py"
    scripts = [path for path in sorted((REPOSITORY / "pipeline").glob("*.py")) if path.name != "__init__.py"]
    assert [path.stem for path in scripts if reader in source_files(f"pipeline.{path.stem}")] == ["finetune"]


def test_no_training_stage_opens_the_file(packed, banks, tmp_path):
    """`speakers.parquet` is a pipe without a writer: whoever opens it waits until the time limit."""
    manifest, shards = packed.paths
    data = tmp_path / "data" / "train"
    data.mkdir(parents=True)
    for path in (manifest, *shards):
        (data / path.name).symlink_to(path)
    os.mkfifo(data / "speakers.parquet")
    corpus = ["--manifest", data / manifest.name, "--audio", *(data / path.name for path in shards)]
    sources = ["--noise", banks[0], "--rirs", banks[1], "--state", tmp_path / "state", "--threads", "1"]

    crops = {"long_seconds": 1.0, "short_seconds": 0.5}
    aware = {"start_epoch": 1, "clusters": 5}
    stage_1 = validated(
        PretrainSettings, {"epochs": 2, "batch_size": 8, "crops": crops, "head": {"prototypes": 32}, "cluster_aware": aware}
    )
    settings = PretrainJob(pretrain=stage_1, preparation=PreparationSettings(), **COMMON).to_json()
    first, second = tmp_path / "iter_0", tmp_path / "iter_1"
    script("pretrain", settings, *corpus, *sources, "--model", first / "model.pt", "--history", first / "history.parquet")
    script("extract", None, *corpus, "--model", first / "model.pt", "--output", first / "train.parquet", "--threads", "1")
    labels = ["--embeddings", first / "train.parquet", "--output", first / "pseudo_labels.parquet", "--seed", "1", "--threads", "1"]
    script("cluster", '{"clusters": 6}', *labels)
    no_ramp = {"margin_start_epoch": 0, "margin_full_epoch": 0}
    gate = {"gate_start_epoch": 1}
    stage_2 = validated(TrainSettings, {"epochs": 2, "batch_size": 8, "crop_seconds": 1.0, "aam": no_ramp, "gate": gate})
    outputs = [part for name in ("history", "gate", "losses") for part in (f"--{name}", second / f"{name}.parquet")]
    settings = TrainJob(train=stage_2, **COMMON).to_json()
    label_file = ["--labels", first / "pseudo_labels.parquet", "--iteration", "1"]
    script("train", settings, *corpus, *sources, *label_file, *outputs, "--model", second / "model.pt")
    assert len(pd.read_parquet(second / "losses.parquet")) == len(packed.speakers)


def script(stage: str, settings: str | None, *arguments: object) -> None:
    """Run a stage as the workflow does, within a minute and a half."""
    given = [] if settings is None else ["--settings", settings]
    command = [sys.executable, "-m", f"pipeline.{stage}", *given, *map(str, arguments)]
    done = subprocess.run(command, cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
