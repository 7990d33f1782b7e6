"""Packed audio on a machine's own disk: what is copied, when, by whom, and that a training reads the copy."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsv.data.corpus import PackedCorpus
from selfsv.data.scratch import local_copies
from selfsv.errors import InputError
from selfsv.settings.clustering import PreparationSettings
from selfsv.settings.jobs import PretrainJob
from selfsv.settings.pretrain import PretrainSettings
from selfsv.settings.section import validated
from tests.conftest import REPOSITORY, Packed
from tests.training.test_labels import COMMON


@pytest.fixture
def shards(packed: Packed, tmp_path: Path) -> list[Path]:
    """The shards of `packed`, to change."""
    folder = tmp_path / "shared"
    folder.mkdir()
    return [Path(shutil.copy(path, folder)) for path in packed.paths[1]]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def held(scratch: Path) -> set[Path]:
    """The copies in a folder."""
    return {path for path in scratch.rglob("*") if path.is_file() and path.name != "lock"}


def test_copies_are_the_files_and_are_made_once(packed, shards, scratch, monkeypatch):
    monkeypatch.setenv("NODE_DISK", str(scratch))
    copies = local_copies(shards, "$NODE_DISK")
    assert held(scratch) == set(copies)
    assert [path.read_bytes() for path in copies] == [path.read_bytes() for path in shards]
    ours, theirs = (PackedCorpus(packed.paths[0], paths) for paths in (shards, copies))
    assert all(np.array_equal(ours.samples(index), theirs.samples(index)) for index in range(len(ours)))
    before = [path.stat() for path in copies]
    assert local_copies(shards, str(scratch)) == copies
    assert [(status.st_ino, status.st_mtime_ns) for status in before] == [(path.stat().st_ino, path.stat().st_mtime_ns) for path in copies]
    assert local_copies(shards, None) == shards


def test_a_changed_file_is_copied_again_and_the_old_copy_goes(shards, scratch):
    first, second = local_copies(shards, str(scratch))
    shards[0].write_bytes(shards[0].read_bytes()[::-1])  # of the same size
    assert local_copies(shards, str(scratch))[1] == second
    (other,) = held(scratch) - {second}
    assert other != first and other.read_bytes() == shards[0].read_bytes()


def test_what_a_killed_process_left_is_neither_used_nor_kept(shards, scratch):
    first, second = local_copies(shards, str(scratch))
    second.write_bytes(second.read_bytes()[:100])
    first.rename(first.with_name(f".{first.name}.node-1.partial"))
    assert local_copies(shards, str(scratch)) == [first, second]
    assert [path.read_bytes() for path in (first, second)] == [path.read_bytes() for path in shards]
    assert held(scratch) == {first, second}


def test_of_several_processes_one_copies(shards, scratch):
    code = "import logging, sys; logging.basicConfig(level=logging.INFO); from pathlib import Path; "
    code += "from selfsv.data.scratch import local_copies; print(*local_copies([*map(Path, sys.argv[2:])], sys.argv[1]))"
    command = [sys.executable, "-c", code, str(scratch), *map(str, shards)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": REPOSITORY}
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]
    outputs = [process.communicate() for process in processes]
    assert len({printed for printed, _ in outputs}) == 1 and not any(process.returncode for process in processes)
    assert sum(logged.count("copied") for _, logged in outputs) == 1
    assert {str(path) for path in held(scratch)} == set(outputs[0][0].split())


def test_without_room_the_files_are_read_where_they_are(shards, scratch, monkeypatch, caplog):
    free = 2**30 + sum(path.stat().st_size for path in shards)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2 * free, free, free - 1))
    with caplog.at_level(logging.WARNING, "selfsv"):
        assert local_copies(shards, str(scratch)) == shards
    assert "has no room" in caplog.text and not held(scratch)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2 * free, free, free))
    assert set(local_copies(shards, str(scratch))) == held(scratch)


def test_a_folder_that_cannot_be_used_is_one_error(shards, scratch, tmp_path):
    for missing in (str(tmp_path / "none"), "$NO_SUCH_VARIABLE/x"):
        with pytest.raises(InputError, match=r"'runtime\.scratch': .* is no folder on .* or leave the key empty"):
            local_copies(shards, missing)
    ours = scratch / f"selfsv-{os.getuid()}"
    ours.mkdir()
    ours.chmod(0o777)
    with pytest.raises(InputError, match="is not yours alone"):
        local_copies(shards, str(scratch))
    ours.rmdir()
    ours.symlink_to(tmp_path)
    with pytest.raises(InputError, match="is not yours alone"):
        local_copies(shards, str(scratch))


def test_a_disk_without_locks_is_one_error(shards, scratch, no_locks):
    with pytest.raises(InputError, match=r"'runtime\.scratch': .*/lock: its file system has no locks"):
        local_copies(shards, str(scratch))


def test_a_training_reads_the_copies_and_its_result_is_the_same(packed, shards, banks, scratch, tmp_path):
    """Once there are copies, the originals may hold anything."""
    crops = {"long_seconds": 1.0, "short_seconds": 0.5}
    stage = validated(PretrainSettings, {"epochs": 1, "batch_size": 8, "crops": crops, "head": {"prototypes": 32}})
    settings = PretrainJob(pretrain=stage, preparation=PreparationSettings(), **COMMON).to_json()

    def trained(name: str, *more: object) -> dict[str, torch.Tensor]:
        corpus = ["--manifest", packed.paths[0], "--audio", *shards, "--noise", banks[0], "--rirs", banks[1]]
        folder = tmp_path / name
        outputs = ["--model", folder / "model.pt", "--history", folder / "history.parquet", "--state", folder / "state"]
        command = [sys.executable, "-m", "pipeline.pretrain", "--settings", settings, *corpus, *outputs, "--threads", "1", *more]
        done = subprocess.run([*map(str, command)], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return torch.load(folder / "model.pt", weights_only=True)["weights"]

    expected, copied = trained("shared"), trained("copied", "--scratch", scratch)
    assert len(held(scratch)) == len(shards)
    for path in shards:
        status = path.stat()
        content = torch.load(path, weights_only=True)
        torch.save(torch.zeros_like(content), path)
        assert path.stat().st_size == status.st_size
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    from_copies, from_zeros = trained("again", "--scratch", scratch), trained("zeros")
    assert all(torch.equal(expected[name], copied[name]) and torch.equal(expected[name], from_copies[name]) for name in expected)
    assert not all(torch.equal(expected[name], from_zeros[name]) for name in expected)
