"""A cut of the demo that the workflow gets through in a minute, and Snakemake as a user starts it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from snakemake.utils import update_config

REPOSITORY = Path(__file__).parents[1]
DEMO = REPOSITORY / "demo"
WALL_TIME = ["utterances_per_second", "data_wait_seconds", "seconds"]  # columns of history.parquet that no two runs share

SETTINGS = {
    "experiment": "cut",
    "rounds": 2,
    "rejection": {"max_rejected": 0.1},
    "encoder": {"channels": 16, "mfa_channels": 48, "bottleneck": 8, "embedding": 32},
    "pretrain": {
        "epochs": 3,
        "batch_size": 16,
        "crops": {"long_seconds": 1.0, "short_seconds": 0.5},
        "head": {"hidden": 32, "bottleneck": 16, "prototypes": 64},
        "optimiser": {"warmup_epochs": 1},
        "cluster_aware": {"start_epoch": 2, "every_epochs": 1, "clusters": 20},
    },
    "cluster": {"clusters": 10},
    "train": {
        "epochs": 4,
        "batch_size": 16,
        "crop_seconds": 1.0,
        "aam": {"margin_start_epoch": 0, "margin_full_epoch": 1},
        "gate": {"gate_start_epoch": 2},
    },
}
FACES = {
    "modality": "audio_visual",
    "faces": {"encoder": {"width": 4, "blocks": [1, 1, 1, 1], "input_side": 32, "embedding": 16}, "detection": {"smallest_face": 80}},
}
HOSTILE = {"text.wav": b"not audio at all\n", "empty.wav": b"", "it's $(touch owned) here.wav": b"RIFF"}


def cut_of_the_demo(folder: Path) -> dict[str, object]:
    """A few recordings of a few talkers of each split, hostile files, and the trials that are left; the overlay that names them."""
    for split, talkers, each in (("dev", 12, 6), ("test", 6, 5)):
        for talker in sorted((DEMO / "speech" / split / "wav").iterdir())[:talkers]:
            for file in sorted(talker.rglob("*.opus"))[:each]:
                target = folder / file.relative_to(DEMO)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
    session = next((folder / "speech" / "dev" / "wav").glob("*/*"))
    for name, content in HOSTILE.items():
        (session / name).write_bytes(content)
    kept = [
        line
        for line in (DEMO / "trials.txt").read_text().splitlines()
        if all((folder / "speech/test/wav" / name).exists() for name in line.split()[1:])
    ]
    assert {line[0] for line in kept} == {"0", "1"}
    (folder / "trials.txt").write_text("\n".join(kept))
    return {
        "corpora": {name: {"layout": "voxceleb", "path": f"speech/{split}/wav"} for name, split in (("train", "dev"), ("test", "test"))},
        "trials": {"cut": {"corpus": "test", "path": "trials.txt"}},
        "noise": {"path": str(DEMO / "noise" / "musan")},
        "rirs": {"path": str(DEMO / "noise" / "rirs")},
    }


def videos_of_the_cut(folder: Path) -> dict[str, str]:
    """What `cut_of_the_demo` put into `folder` for training, less the hostile files, as videos with faces; the corpus that they are."""
    for hostile in (path for path in (folder / "speech/dev").rglob("*") if path.suffix == ".wav"):
        hostile.unlink()
    program = [sys.executable, DEMO / "make_videos.py", "--processes", "2"]
    subprocess.run([*program, "--speech", folder / "speech/dev/wav", "--into", folder / "videos"], check=True, capture_output=True)
    return {"layout": "voxceleb", "path": "videos/mp4"}


def overlay_for(folder: Path, faces: bool = False, **changes: Any) -> dict[str, Any]:
    """Make a cut of the demo in `folder`; the configuration that runs it, with `changes` of whole sections.

    Args:
        faces: whether the experiment is audio-visual, its sound taken from videos.
    """
    overlay = yaml.safe_load((DEMO / "config.yaml").read_text())
    update_config(overlay, SETTINGS)
    overlay |= {**cut_of_the_demo(folder), "runtime": {"device": "cpu", "threads": 1, "workers": 0}}
    if faces:
        update_config(overlay, FACES)
        overlay["corpora"]["train"] = videos_of_the_cut(folder)
    return overlay | changes


def command_for(folder: Path, overlay: dict[str, Any], *options: str) -> list[str]:
    """What a user types to run the experiment that `overlay` describes in `folder`."""
    (folder / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    command = [sys.executable, "-m", "snakemake", *(options or ("--cores", "2", "--rerun-incomplete"))]
    place = ["--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(folder)]
    return [*command, *place, "--configfile", str(folder / "overlay.yaml")]


def environment() -> dict[str, str]:
    """The variables of an activated environment; two jobs of one thread each go best with two cores."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def start(command: list[str], folder: Path) -> subprocess.Popen:
    """Snakemake in a session of its own, by which its processes are told from those of others."""
    with open(folder / "snakemake.txt", "a") as output:
        return subprocess.Popen(command, cwd=folder, env=environment(), stdout=output, stderr=output, start_new_session=True)


def said(folder: Path) -> str:
    """The last words of the runs in `folder`."""
    return (folder / "snakemake.txt").read_text()[-6000:]


def finished(folder: Path, overlay: dict[str, Any], *wanted: str) -> Path:
    """Run the experiment that `overlay` describes in `folder` to its end, or to the results that are wanted; its results."""
    results = Path("results") / overlay["experiment"]
    targets = ["--", *(str(results / name) for name in wanted)] if wanted else []
    assert start([*command_for(folder, overlay), *targets], folder).wait() == 0, said(folder)
    return folder / results
