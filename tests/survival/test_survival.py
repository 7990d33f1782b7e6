"""A few kills in a few stages (`python -m tests.survival.disturbing` deals out a hundred), and disks that fill up or cannot be written."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cut import said, start
from tests.survival.disturbing import Kill, differences, finish, prepare, results_in, survive, undisturbed

KILLS = [
    Kill("pack", "kill the stage", 0.5),
    Kill("pretrain", "kill Snakemake", 0.5),
    Kill("extract", "kill both", 0.3),
    Kill("train", "terminate the stage", 0.6),
    Kill("train", "terminate everything", 0.6),
]
SPARE_KILOBYTES = (200, 1500, 3000)  # beyond what the results hold so far: they run out in one stage after another


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> tuple[Path, dict[str, float]]:
    """Results that nothing disturbed, and how long each stage took."""
    folder = tmp_path_factory.mktemp("calm") / "run"
    return folder, undisturbed(folder)


def test_nothing_is_lost(calm, tmp_path):
    struck = survive(KILLS, tmp_path / "wild", calm[1])
    assert sum(struck.values()) == len(KILLS), struck
    assert differences(results_in(calm[0]), results_in(tmp_path / "wild")) == []


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A small disk of its own for the results."""
    place = tmp_path / "results"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


@pytest.mark.slow
def test_a_full_or_unwritable_disk_loses_nothing(calm, disk, tmp_path):
    command = prepare(tmp_path)
    for spare in SPARE_KILOBYTES:
        remount(disk, f"size={shutil.disk_usage(disk).used // 1024 + spare}k")
        assert start(command, tmp_path).wait() != 0
    assert "No space left" in (tmp_path / "snakemake.txt").read_text() + "".join(log.read_text() for log in disk.rglob("*.log"))
    remount(disk, "size=500m,ro")
    assert start(command, tmp_path).wait() != 0
    assert "Read-only" in said(tmp_path)
    remount(disk, "rw")
    finish(command, tmp_path)
    assert differences(results_in(calm[0]), results_in(tmp_path)) == []
