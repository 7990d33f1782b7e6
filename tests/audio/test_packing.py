"""Packing: what lands in a shard is what soundfile reads, for any number of threads; bad files are set aside."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from pipeline import listing, manifest, pack
from selfsv.artifacts import read_table
from selfsv.errors import InputError
from selfsv.prepare.packing import check_rejections, write_shard
from selfsv.settings.data import RejectionSettings

RATE = 16000
DEMO = Path(__file__).parents[2] / "demo/speech/test/wav"


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Calls a script's `main` as the command line would."""

    def call(script: object, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
        script.main()  # type: ignore[attr-defined]

    return call


def packed(
    stage: Callable[..., None], corpus: Path, folder: Path, shards: int = 2, threads: int = 1, max_rejected: float = 0.01
) -> pd.DataFrame:
    settings = f'{{"layout": "voxceleb", "path": "{corpus}"}}'
    stage(
        listing,
        *("--settings", settings, "--shards", shards),
        *("--listing", folder / "listing.parquet", "--speakers", folder / "speakers.parquet"),
        *("--left-out", folder / "left_out.parquet"),
    )
    for shard in range(shards):
        stage(
            pack,
            *("--settings", "{}", "--listing", folder / "listing.parquet", "--shard", shard, "--threads", threads),
            *("--audio", folder / f"audio-{shard}.pt", "--manifest", folder / f"manifest-{shard}.parquet"),
        )
    stage(
        manifest,
        *("--settings", f'{{"max_rejected": {max_rejected}}}', "--manifest", folder / "manifest.parquet"),
        *("--shards", *(folder / f"manifest-{shard}.parquet" for shard in range(shards))),
    )
    return read_table(folder / "manifest.parquet")


def as_int16(wave: np.ndarray) -> np.ndarray:
    """Decoded Opus may exceed full scale: it is scaled, where a plain conversion would clip."""
    return np.clip(np.rint(wave / max(1.0, np.abs(wave).max()) * 32768), -32768, 32767)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two real talkers, and one folder of what goes wrong."""
    root = tmp_path / "corpus"
    for talker in ("tuxpaint_lt", "klettres_ar"):
        for path in sorted((DEMO / talker).rglob("*.opus"))[:6]:
            target = root / path.relative_to(DEMO)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
    bad = root / "zz_bad/s"
    bad.mkdir(parents=True)
    wave = np.random.default_rng(0).uniform(-0.3, 0.3, 3 * RATE)
    soundfile.write(bad / "whole file.wav", wave, RATE)
    (bad / "cut.wav").write_bytes((bad / "whole file.wav").read_bytes()[:50000])
    (bad / "text.wav").write_text("hello")
    (bad / "zero.wav").touch()
    soundfile.write(bad / "silence.wav", np.zeros(3 * RATE), RATE)
    soundfile.write(bad / "short.wav", wave[: RATE // 5], RATE)
    soundfile.write(bad / "nan.wav", np.where(np.arange(len(wave)) == 7, np.nan, wave), RATE, "FLOAT")
    (bad / "new\nline.wav").write_bytes(b"x")
    (bad / "gone.wav").symlink_to(bad / "nowhere.wav")
    return root


def test_a_corpus_from_tree_to_memory_map(stage: Callable[..., None], corpus: Path, tmp_path: Path) -> None:
    table = packed(stage, corpus, tmp_path / "out", max_rejected=0.9)
    assert table.columns.tolist() == ["utterance", "path", "session", "num_samples", "shard", "offset", "status", "reason"]
    assert table["utterance"].is_monotonic_increasing
    assert table["utterance"].is_unique
    good = table[table["status"] == "ok"]
    assert len(good) == 3 + 6 + 1
    shards = [torch.load(tmp_path / f"out/audio-{shard}.pt", mmap=True, weights_only=True) for shard in range(2)]
    assert all(shard.dtype == torch.int16 and shard.ndim == 1 for shard in shards)
    assert sum(map(len, shards)) == good["num_samples"].sum()
    for row in good.itertuples():
        samples = shards[row.shard][row.offset : row.offset + row.num_samples].numpy()
        expected = as_int16(soundfile.read(row.path)[0])
        assert np.abs(samples.astype(int) - expected).max() <= 1


def test_bad_files_are_set_aside_with_their_reasons(stage: Callable[..., None], corpus: Path, tmp_path: Path) -> None:
    table = packed(stage, corpus, tmp_path / "out", max_rejected=0.9)
    bad = table[table["status"] == "rejected"]
    names, reasons = bad["utterance"].str.rpartition("/")[2], bad["reason"].str.partition(":")[0]
    assert dict(zip(names, reasons, strict=True)) == {
        "cut": "truncated",
        "text": "not audio",
        "zero": "empty",
        "silence": "silent",
        "short": "too short",
        "nan": "not finite",
        "new\\nline": "unusable name",
        "gone": "missing",
    }
    assert (bad["num_samples"] == 0).all()


def test_a_channel_is_an_utterance_of_its_own(stage: Callable[..., None], tmp_path: Path) -> None:
    talkers = np.random.default_rng(0).integers(-9000, 9000, (2 * RATE, 2), np.int16)
    soundfile.write(tmp_path / "call.wav", talkers, RATE)
    (tmp_path / "list.csv").write_text("path,utterance,channel\ncall.wav,a,1\ncall.wav,b,2\ncall.wav,c,3\n")
    settings = f'{{"layout": "listing", "path": "{tmp_path / "list.csv"}"}}'
    outputs = [
        f"--{name}={tmp_path / file}" for name, file in (("listing", "l.parquet"), ("speakers", "s.parquet"), ("left-out", "e.parquet"))
    ]
    stage(listing, "--settings", settings, "--shards", 1, *outputs)
    files = ("--listing", tmp_path / "l.parquet", "--audio", tmp_path / "audio-0.pt", "--manifest", tmp_path / "m.parquet")
    stage(pack, "--settings", "{}", "--shard", 0, *files)
    samples = torch.load(tmp_path / "audio-0.pt", weights_only=True).numpy()
    np.testing.assert_array_equal(samples, talkers.T.ravel())
    assert read_table(tmp_path / "m.parquet")["reason"].tolist()[2].startswith("no such channel: 3")


def test_too_many_rejections_stop_the_run_and_name_files(stage: Callable[..., None], corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        packed(stage, corpus, tmp_path / "out")
    message = str(caught.value)
    assert "10 of 18 files are usable" in message
    assert "max_rejected" in message
    assert "silence.wav: silent" in message


@pytest.mark.parametrize("shards", [1, 3, 24])
def test_any_number_of_shards_and_threads_gives_the_same(stage: Callable[..., None], corpus: Path, tmp_path: Path, shards: int) -> None:
    one = packed(stage, corpus, tmp_path / "one", shards, threads=1, max_rejected=0.9)
    four = packed(stage, corpus, tmp_path / "four", shards, threads=4, max_rejected=0.9)
    pd.testing.assert_frame_equal(one, four)
    for shard in range(shards):
        assert (tmp_path / f"one/audio-{shard}.pt").read_bytes() == (tmp_path / f"four/audio-{shard}.pt").read_bytes()
    assert not [path for path in (tmp_path / "one").iterdir() if path.name.startswith(".")]


def test_a_failed_pack_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken() -> object:
        yield np.ones(10, np.int16)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_shard(tmp_path / "audio-0.pt", broken())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_an_empty_shard_can_be_mapped(tmp_path: Path) -> None:
    write_shard(tmp_path / "audio-0.pt", ["silent: x"])
    assert torch.load(tmp_path / "audio-0.pt", mmap=True, weights_only=True).shape == (0,)


def table_of(ok: int, rejected: int) -> pd.DataFrame:
    rows = [("ok", "")] * ok + [("rejected", "silent: x")] * rejected
    names = [str(number) for number in range(len(rows))]
    return pd.DataFrame(rows, columns=["status", "reason"]).assign(utterance=names, session="", path=[f"{name}.wav" for name in names])


def test_the_limit_on_rejections() -> None:
    settings = RejectionSettings(max_rejected=0.01)
    assert check_rejections(table_of(100, 0), settings) == "100 of 100 files are usable"
    assert "rejected: 1 silent" in check_rejections(table_of(99, 1), settings)
    with pytest.raises(InputError, match="98 of 100"):
        check_rejections(table_of(98, 2), settings)
    with pytest.raises(InputError, match="0 of 3"):
        check_rejections(table_of(0, 3), RejectionSettings(max_rejected=1.0))
