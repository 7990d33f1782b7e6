"""The banks of noise and impulse responses, from real trees of audio."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy import signal

from pipeline import noise, rirs
from selfsv.data.banks import NOISE_KINDS, RIR_KINDS, Bank, bank_of, load_bank, save_bank
from selfsv.errors import InputError
from selfsv.prepare import recorded
from selfsv.prepare.noise_bank import noise_segments, recorded_sources
from selfsv.prepare.recorded import excerpts, musan_files, response_files
from selfsv.settings.data import NoiseSettings

RATE = 16000
DEMO = Path(__file__).parents[2] / "demo/noise"


def call(monkeypatch: pytest.MonkeyPatch, script: object, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
    script.main()  # type: ignore[attr-defined]


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """A MUSAN tree whose files can be told apart: noise at 500 Hz, music at 1, speech at 2 kHz and above."""
    rng = np.random.default_rng(0)
    for kind, first in (("noise", 500), ("music", 1000), ("speech", 2000)):
        for number in range(4):
            path = tmp_path / f"musan/{kind}/source/{kind}-{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            seconds = (1.5, 5.0, 12.0, 40.0)[number]
            time = np.arange(round(seconds * RATE)) / RATE
            wave = 0.2 * np.sin(2 * np.pi * (first + 50 * number) * time)
            soundfile.write(path, wave + 0.001 * rng.standard_normal(len(time)), RATE)
    return tmp_path / "musan"


def bank(root: Path, *, minutes: float = 1.0, seed: int = 1, threads: int = 1) -> Bank:
    settings = NoiseSettings(path=str(root), minutes_per_kind=minutes)
    return bank_of(noise_segments(recorded_sources(settings, seed, threads), settings, seed, threads), NOISE_KINDS)


def of_kind(made: Bank, kind: str) -> list[np.ndarray]:
    return [made.segment(index).numpy() for index in range(len(made)) if made.kinds[made.kind[index]] == kind]


def peaks(segment: np.ndarray, least: float = 0.02) -> list[float]:
    """Frequencies (Hz) that hold at least `least` of the power."""
    frequency, power = signal.welch(segment.astype(float), RATE, nperseg=8000)
    found, _ = signal.find_peaks(power, height=least * power.sum())
    return frequency[found].tolist()


def test_every_segment_is_4_to_12_seconds_and_half_scale(tones: Path) -> None:
    made = bank(tones)
    assert set(np.unique(made.kind)) == {0, 1, 2, 3}
    assert made.length.min() >= 4 * RATE
    assert made.length.max() <= 12 * RATE + 1
    for index in range(len(made)):
        assert made.segment(index).abs().max() == pytest.approx(32767 / 2, abs=1)


def test_each_kind_is_made_of_what_it_says(tones: Path) -> None:
    made = bank(tones)
    assert all(495 <= f <= 660 for segment in of_kind(made, "noise") for f in peaks(segment))
    assert all(995 <= f <= 1160 for segment in of_kind(made, "music") for f in peaks(segment))
    assert all(1995 <= f <= 2160 for segment in of_kind(made, "babble") for f in peaks(segment))
    assert max(len(peaks(segment)) for segment in of_kind(made, "babble")) >= 3
    for segment in of_kind(made, "television"):
        low, high = sorted(peaks(segment))
        assert 995 <= low <= 1160
        assert 1995 <= high <= 2160


def test_long_files_give_several_stretches_without_overlap(tones: Path) -> None:
    paths = musan_files(str(tones))["noise"]
    cuts = excerpts(paths, 1e6, np.random.default_rng(0), 1)
    long = sorted(cut.start for cut in cuts if cut.path.endswith("noise-3.wav"))
    assert long == [0.0, 10.0, 20.0, 30.0]
    assert len({cut.path for cut in cuts}) == 4


def test_the_limit_keeps_variety_and_reads_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(200):
        soundfile.write(tmp_path / f"noise-{number:03d}.wav", np.zeros(RATE), RATE, "PCM_U8")
    opened: list[str] = []

    def an_hour(path: str) -> float:
        opened.append(path)
        return 3600.0

    monkeypatch.setattr(recorded, "seconds_of", an_hour)
    cuts = excerpts(sorted(map(str, tmp_path.iterdir())), 10 * 12.0, np.random.default_rng(0), 1)
    assert len(cuts) == len({cut.path for cut in cuts}) == 10
    assert len(opened) <= 11
    numbers = [int(Path(cut.path).stem[-3:]) for cut in cuts]
    assert max(numbers) - min(numbers) > 100  # drawn from all over the tree


def test_the_limit_holds_for_every_kind(tones: Path) -> None:
    made = bank(tones, minutes=0.5)
    for kind in NOISE_KINDS:
        seconds = sum(map(len, of_kind(made, kind))) / RATE
        assert 0 < seconds <= 30 + 12


def test_seed_decides_and_threads_do_not(tones: Path) -> None:
    one, again, other = bank(tones), bank(tones, threads=3), bank(tones, seed=2)
    assert torch.equal(one.samples, again.samples)
    assert torch.equal(one.start, again.start)
    assert not torch.equal(one.samples[:100000], other.samples[:100000])


def test_kinds_that_a_tree_lacks_are_absent(tones: Path) -> None:
    for path in sorted((tones / "speech").rglob("*.wav")):
        path.unlink()
    assert set(np.unique(bank(tones).kind)) == {0, 1}


def test_unusable_files_are_left_out(tones: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tones / "noise/text.wav").write_text("no audio")
    soundfile.write(tones / "noise/silence.wav", np.zeros(RATE * 5), RATE)
    made = bank(tones)
    assert "text.wav" in caplog.text
    assert "silent" in caplog.text
    assert len(of_kind(made, "noise")) == 1 + 1 + 1 + 4


def test_no_musan_tree(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"noise\.path"):
        musan_files(str(tmp_path / "nowhere"))
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    with pytest.raises(InputError, match="noise/, music/, speech/"):
        musan_files(str(tmp_path))


def test_the_demo_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = f'{{"path": "{DEMO / "musan"}", "minutes_per_kind": 0.7}}'
    call(monkeypatch, noise, "--settings", settings, "--seed", 1, "--threads", 2, "--noise", tmp_path / "noise.pt")
    made = load_bank(tmp_path / "noise.pt")
    assert made.kinds == NOISE_KINDS
    assert set(np.unique(made.kind)) == {0, 1, 2, 3}
    moved = made.to("cpu")
    assert torch.equal(moved.segment(3), made.segment(3))


# --- impulse responses -----------------------------------------------------------------------------------------------


def test_the_demo_responses_start_at_their_peak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(monkeypatch, rirs, "--settings", f'{{"path": "{DEMO / "rirs"}", "seconds": 0.5}}', "--seed", 1, "--rirs", tmp_path / "rirs.pt")
    made = load_bank(tmp_path / "rirs.pt")
    assert made.kinds == RIR_KINDS
    assert len(made) == 150
    assert made.length.max() <= RATE // 2
    for index, path in enumerate(sorted((DEMO / "rirs").rglob("*.flac"))):
        expected, _ = soundfile.read(path)
        expected = expected[np.argmax(np.abs(expected)) :][: RATE // 2]
        got = made.segment(index).numpy()
        np.testing.assert_allclose(got / 32767, (expected / np.abs(expected[0]))[: len(got)], atol=1e-4)
        assert np.abs(expected[len(got) :]).max(initial=0) <= np.abs(expected[0]) / 32767


def test_a_part_of_a_large_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = f'{{"path": "{DEMO / "rirs"}", "max_responses": 20}}'
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        call(monkeypatch, rirs, "--settings", settings, "--seed", seed, "--threads", 2, "--rirs", tmp_path / f"{name}.pt")
    banks = {name: load_bank(tmp_path / f"{name}.pt") for name in "abc"}
    assert len(banks["a"]) == 20
    assert torch.equal(banks["a"].samples, banks["b"].samples)
    assert not torch.equal(banks["a"].length, banks["c"].length)


def test_only_the_responses_of_a_rirs_noises_tree(tmp_path: Path) -> None:
    real = "real_rirs_isotropic_noises"
    names = ["pointsource_noises/noise-1.wav", f"{real}/RWCP_type1_rir_1.wav", f"{real}/air_type1_noise_1.wav"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert response_files(str(tmp_path)) == [str(tmp_path / names[1])]
    (tmp_path / "simulated_rirs/smallroom").mkdir(parents=True)
    (tmp_path / "simulated_rirs/smallroom/r.wav").write_bytes(b"x")
    assert response_files(str(tmp_path)) == [str(tmp_path / "simulated_rirs/smallroom/r.wav")]


# --- the file --------------------------------------------------------------------------------------------------------


def test_a_bank_survives_the_disk(tmp_path: Path) -> None:
    made = bank_of([("music", np.arange(5, dtype=np.int16)), ("noise", np.arange(3, dtype=np.int16))], NOISE_KINDS)
    save_bank(tmp_path / "bank.pt", made)
    again = load_bank(tmp_path / "bank.pt")
    assert again.segment(1).tolist() == [0, 1, 2]
    assert again.kind.tolist() == [1, 0]
    assert again.kinds == NOISE_KINDS


@pytest.mark.parametrize(
    "change",
    [
        {"samples": torch.zeros(8)},
        {"start": torch.tensor([0, 6])},
        {"start": torch.tensor([-1, 5])},
        {"length": torch.tensor([5])},
        {"length": torch.tensor([5, 0])},
        {"kind": torch.tensor([0, 4])},
        {name: torch.tensor([], dtype=torch.int64) for name in ("start", "length", "kind")},
        {"more": torch.zeros(1)},
    ],
)
def test_what_is_no_bank_is_refused(tmp_path: Path, change: dict[str, torch.Tensor]) -> None:
    fields = {
        "samples": torch.zeros(8, dtype=torch.int16),
        "start": torch.tensor([0, 5]),
        "length": torch.tensor([5, 3]),
        "kind": torch.tensor([1, 0]),
        "kinds": list(NOISE_KINDS),
    }
    torch.save(fields, tmp_path / "bank.pt")
    assert len(load_bank(tmp_path / "bank.pt")) == 2
    torch.save(fields | change, tmp_path / "bank.pt")
    with pytest.raises(InputError, match=r"bank\.pt"):
        load_bank(tmp_path / "bank.pt")
