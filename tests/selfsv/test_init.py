"""`selfsv init`: from a folder to a configuration that the workflow accepts, by the rules of docs/corpus-size.md."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from selfsv.__main__ import main
from selfsv.engine.runtime import Runtime
from selfsv.errors import InputError
from selfsv.methods.probe import measured_speed
from selfsv.prepare import own_configuration
from selfsv.prepare.adaptive import as_recipe, derivation, derived_file, experiment_with, keys_of
from selfsv.prepare.choices import Choice
from selfsv.prepare.cutting import spans
from selfsv.prepare.own_configuration import (
    SHORTEST_SECONDS,
    Names,
    configuration,
    cut_choices,
    disk_remarks,
    remarks,
    short_choices,
    values_of,
)
from selfsv.prepare.sizes import (
    ALWAYS,
    Speed,
    encoder_choices,
    learning_rate,
    runtime_choices,
    size_choices,
    speaker_choices,
    time_choices,
    time_remarks,
    video_choices,
)
from selfsv.prepare.survey import Survey, cut_up, share_of_steady, survey, without_short
from selfsv.settings.data import Corpus, CutSettings, DecodingSettings
from selfsv.settings.experiment import overlaid, resolve
from selfsv.settings.reading import read_file
from tests.conftest import REPOSITORY, SPEECH

VOICES = SPEECH / "dev" / "wav"
NAMES = Names("mine", {"train": {"layout": "folder", "path": "/data"}}, {})
FAST = Speed(1000.0, 2000.0)
EIGHT_SECONDS = np.full(200, 8.0)


def choices(utterances: int, hours: float, speakers: int, speed: Speed = FAST) -> list[Choice]:
    by_size = [*size_choices(utterances, EIGHT_SECONDS), *speaker_choices(utterances, speakers)]
    return [*ALWAYS, *by_size, *encoder_choices(512), *runtime_choices(8, on_gpu=True), *time_choices(utterances, hours, speed)]


def named(found: list[Choice]) -> dict[str, object]:
    return {choice.key: choice.value for choice in found}


@pytest.mark.parametrize("utterances", [100, 137, 1_225, 20_000, 1_091_251, 30_000_000])
@pytest.mark.parametrize("hours", [0.01, 1.0, 10_000.0])
@pytest.mark.parametrize("speakers", [2, 38, 5_994])
def test_any_size_is_a_valid_configuration(utterances, hours, speakers):
    """Of which every clustering has fewer clusters than there are utterances, and whose rounds reach their gate."""
    config = overlaid(read_file(REPOSITORY / "config.yaml"), values_of(NAMES, choices(utterances, hours, speakers)))
    experiment = resolve(config)
    assert experiment.cluster.clusters <= utterances and experiment.pretrain.cluster_aware.clusters <= utterances
    assert experiment.pretrain.head.prototypes <= utterances
    assert experiment.pretrain.cluster_aware.start_epoch < experiment.pretrain.epochs
    assert experiment.train.gate.gate_start_epoch < experiment.train.epochs
    assert experiment.pretrain.optimiser.warmup_epochs < experiment.pretrain.epochs
    assert experiment.score.cohort_top <= experiment.cluster.clusters
    assert not experiment.trials


def test_a_corpus_like_voxceleb2_comes_to_the_papers_settings():
    found = named(choices(1_091_251, 10_000.0, 5_994, Speed(4_000.0, 10_000.0)))
    assert (found["pretrain.epochs"], found["train.epochs"]) == (150, 100)
    assert (found["pretrain.batch_size"], found["train.batch_size"]) == (256, 256)
    assert found["pretrain.head.prototypes"] == 65_536
    assert found["pretrain.dino.ema_start"] == 0.996
    assert found["pretrain.optimiser.learning_rate"] == 0.2
    assert found["pretrain.optimiser.warmup_epochs"] == 20
    assert (found["pretrain.cluster_aware.start_epoch"], found["pretrain.cluster_aware.every_epochs"]) == (90, 5)
    assert found["train.optimiser.learning_rate"] == 0.1
    assert found["score.cohort_top"] == 300
    assert found["cluster.clusters"] == 8_991
    assert "train.optimiser.final_learning_rate" not in found and "pretrain.head.hidden" not in found  # config.yaml's


def test_a_corpus_like_the_demos_comes_to_its_settings():
    """As demo/config.yaml has them; what it has otherwise, its comments explain."""
    demo = yaml.safe_load((REPOSITORY / "demo" / "config.yaml").read_text())
    found = values_of(NAMES, [*choices(1_225, 12.1 * 1_225 / 3600 / 0.9, 38, Speed(1.0, 4.0)), *encoder_choices(64)])
    for group, keys in {
        "pretrain": ["epochs", "batch_size", "average_last"],
        "train": ["batch_size"],
        "cluster": ["subtract_mean", "restarts"],
        "score": ["subtract_mean"],
    }.items():
        assert {key: found[group][key] for key in keys} == {key: demo[group][key] for key in keys}
    assert found["pretrain"]["head"] == demo["pretrain"]["head"]
    assert found["pretrain"]["dino"]["teacher_temperature"] == demo["pretrain"]["dino"]["teacher_temperature"]
    assert {key: found["encoder"][key] for key in ("channels", "mfa_channels", "bottleneck")} == {
        key: demo["encoder"][key] for key in ("channels", "mfa_channels", "bottleneck")
    }
    assert found["train"]["optimiser"] == demo["train"]["optimiser"]
    assert found["pretrain"]["optimiser"]["learning_rate"] == demo["pretrain"]["optimiser"]["learning_rate"]
    assert found["pretrain"]["dino"]["ema_start"] == pytest.approx(demo["pretrain"]["dino"]["ema_start"], abs=0.005)


@pytest.mark.parametrize(("utterances", "speakers"), [(200, 10), (5_000, 125), (1_200_000, 6_000)])
def test_the_adaptive_recipe_derives_what_init_writes(utterances, speakers):
    """Of the same corpus: where it is packed, the file without what follows from its size comes to the file with it."""
    defaults, found = read_file(REPOSITORY / "config.yaml"), choices(utterances, 5.0, speakers)
    overlay = values_of(NAMES, as_recipe(found, utterances, speakers))
    job = derivation(experiment_with(defaults, overlay), overlay)
    assert not job.own
    derived = yaml.safe_load(derived_file(utterances, EIGHT_SECONDS, job))
    adaptive, plain = experiment_with(defaults, overlay, derived), experiment_with(defaults, values_of(NAMES, found))
    shown = adaptive.model_copy(update={"recipe": "none", "utterances_per_speaker": plain.utterances_per_speaker})
    assert shown == plain
    assert not {"cluster.clusters", "pretrain.batch_size"} & set(keys_of(overlay)) and "pretrain.epochs" in keys_of(overlay)


@pytest.mark.parametrize("utterances", [1, 2, 50, 30_000_000])
@pytest.mark.parametrize("epochs", [1, 150])
def test_the_adaptive_recipe_has_valid_settings_for_any_corpus(utterances, epochs):
    overlay = {**values_of(NAMES, []), "recipe": "adaptive", "pretrain": {"epochs": epochs}, "train": {"epochs": epochs, "batch_size": 48}}
    defaults = read_file(REPOSITORY / "config.yaml")
    job = derivation(experiment_with(defaults, overlay), overlay)
    experiment = experiment_with(defaults, overlay, yaml.safe_load(derived_file(utterances, EIGHT_SECONDS, job)))
    assert (experiment.train.batch_size, experiment.pretrain.epochs) == (48, epochs) and job.own == ("train.batch_size",)


def test_nothing_is_derived_from_nothing():
    with pytest.raises(InputError, match="no utterance"):
        derived_file(0, np.array([]), derivation(resolve(values_of(NAMES, [])), {}))


def test_the_learning_rate_falls_from_few_updates_to_many():
    rates = [learning_rate(updates) for updates in (10, 500, 1_000, 5_000, 20_000, 640_000)]
    assert rates[:2] == [1.0, 1.0] and rates[-2:] == [0.2, 0.2]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(("hours", "rooms"), [(0.5, 500), (1.0, None)])
def test_a_short_training_has_small_banks(hours, rooms):
    found = named(choices(1_225, hours, 38))
    assert (found.get("rirs.simulated_rooms"), "noise.minutes_per_kind" in found) == (rooms, rooms is not None)


def test_every_line_has_its_reason_and_the_file_is_the_configuration():
    found = choices(1_225, 1.0, 38)
    text = configuration(NAMES, found, ["head", ""])
    assert yaml.safe_load(text) == values_of(NAMES, found)
    assert text.startswith("# head\n#\nexperiment: mine\n")
    for choice in found:
        key = choice.key.rpartition(".")[2]
        assert any(line.strip().startswith(f"{key}: ") and line.endswith(f"  # {choice.reason}") for line in text.splitlines())


def seen(**changes: object) -> Survey:
    return Survey(**{"recordings": 500, "sessions": 40, "speakers": 0, "seconds": EIGHT_SECONDS, "samples": [], "rejected": Counter(),
                     "left_out": Counter(), **changes})  # fmt: skip


def test_remarks():
    assert remarks(seen(), None) == []
    notes = " ".join(remarks(seen(sessions=1, seconds=np.full(200, 1800.0), left_out=Counter({".txt": 3}), rejected=Counter(silent=2)), 3))
    for words in ("sessions apart", "100 % of the recordings are longer", "3 files with other endings", "2 silent", "3 speakers teach"):
        assert words in notes


def test_short_recordings_lower_the_limit_where_there_are_many():
    lengths = np.concatenate([np.full(90, 1.0), np.full(10, 0.7)])
    found = seen(seconds=lengths, samples=[np.zeros(round(16_000 * length), np.int16) for length in lengths])
    (choice,) = short_choices(found)
    assert (choice.key, choice.value) == ("pack.min_seconds", SHORTEST_SECONDS) and "10 % of the recordings are shorter" in choice.reason
    assert short_choices(found._replace(seconds=np.append(np.full(99, 1.0), 0.7))) == []
    fewer = without_short(found, 1.0)
    assert fewer.rejected == {"too short": 10} and len(fewer.samples) == len(fewer.seconds) == 90
    assert fewer.looked_at == 100 and fewer.usable == 450


def test_commands_of_a_second_are_kept(tmp_path, capsys):
    """Cut from real voices: an eighth of them shorter than a second, two of them shorter than a word."""
    voices = [soundfile.read(path, dtype="int16")[0] for path in sorted(VOICES.rglob("*.opus"))[:80]]
    (tmp_path / "words").mkdir()
    for number, (voice, half) in enumerate((voice, half) for voice in voices for half in (0, 1)):
        length = 3_200 if number in (5, 50) else 12_000 if number % 8 == 0 else 16_000
        soundfile.write(tmp_path / "words" / f"{number}.wav", voice[half * 32_000 :][:length], 16_000)
    into = tmp_path / "mine.yaml"
    assert main(["init", str(tmp_path / "words"), "--into", str(into), "--probe-seconds", "0", "--threads", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["usable"] == 158 and said["settings"]["pack.min_seconds"] == 0.5
    assert said["settings"]["pretrain.dino.teacher_temperature"] == 0.04
    assert said["settings"]["pretrain.crops.long_seconds"] == 1.0 and "overlap, or are the same" in into.read_text()
    assert "160 recordings, about 0.0 hours, 1 session," in into.read_text()
    experiment = resolve(overlaid(read_file(REPOSITORY / "config.yaml"), read_file(into)))
    assert experiment.rejection.max_rejected > 2 / 160 and experiment.pack.min_seconds == 0.5


@pytest.mark.parametrize(
    ("hours", "speed", "words"),
    [
        (100.0, FAST, []),
        (0.5, Speed(10.0, 40.0), ["no time for rounds", "stage I has 480 updates", "--hours 0.51 has as many"]),  # 12.7 epochs of 40 steps
        (0.01, Speed(10.0, 40.0), ["take about 0.12 hours here, not 0.01", "no time for rounds", "stage I has 120 updates"]),
    ],
)
def test_too_little_time_is_said_with_the_time_that_would_do(hours, speed, words):
    """1,280 utterances in 40 batches of 32. At least 3 epochs of stage I have to do in nine tenths of the time."""
    notes = time_remarks(1_280, hours, speed)
    assert len(notes) == len({word for word in words if not word.startswith("--hours")})
    assert all(word in " ".join(notes) for word in words)


@pytest.mark.parametrize(("train_speed", "rounds"), [(40.0, 0), (100.0, 2)])
def test_rounds_of_too_few_updates_are_left_out(train_speed, rounds):
    """1,280 utterances, 40 updates an epoch: at 40 utterances a second 2 hours have 33 epochs of a round, 1,320 updates; 3.2 have 54."""
    found = named(time_choices(1_280, 2.0, Speed(10.0, train_speed)))
    assert (found["rounds"], found["pretrain.epochs"]) == (rounds, 33 if rounds else 50)
    assert named(time_choices(1_280, 3.2, Speed(10.0, 40.0)))["rounds"] == 2


def test_noise_is_no_speech():
    rng = np.random.default_rng(1)
    noise = [(rng.normal(size=48_000) * level).astype(np.int16) for level in (50, 500, 5_000)]
    voices = [soundfile.read(path, dtype="int16")[0] for path in sorted(VOICES.rglob("*.opus"))[::40]]
    loud = [(voice + rng.normal(size=len(voice)) * voice.std()).clip(-32768, 32767).astype(np.int16) for voice in voices]
    assert share_of_steady(noise) == 1.0 and share_of_steady(voices) < 0.05 and share_of_steady(loud) < 0.2
    assert share_of_steady([*noise, voices[0]]) == 0.75 and share_of_steady([]) == 0.0
    assert any("is it speech?" in note for note in remarks(seen(samples=noise), None))


def test_a_disk_that_is_too_small_is_said_before_packing():
    gigabytes = 3600 * seen().hours * 2 * 16_000 / 1e9  # of samples of two bytes
    assert disk_remarks(seen(), round(2e9 * gigabytes)) == []
    (note,) = disk_remarks(seen(), round(0.5e9 * gigabytes))
    assert f"about {gigabytes:.1f} GB" in note and f"{gigabytes / 2:.1f} GB are free" in note


@pytest.mark.parametrize(("changes", "message"), [({"recordings": 99}, "fewer than 100"), ({"seconds": np.empty(0)}, "none of 0")])
def test_too_little_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        remarks(seen(**changes), None)


def test_a_survey_of_real_recordings(tmp_path):
    """What was broken, silent or too short is counted with its reason."""
    corpus = Corpus(layout="voxceleb", path=str(VOICES))
    found = survey(corpus, DecodingSettings(), threads=2)
    assert found.recordings == found.usable == len(list(VOICES.rglob("*.opus")))
    assert found.speakers == len(list(VOICES.iterdir()))
    assert 1.0 < found.hours < 3.0 and len(found.samples) == 200
    for number, path in enumerate(sorted(VOICES.rglob("*.opus"))[:30]):
        (tmp_path / f"{number}.opus").write_bytes(path.read_bytes() if number % 3 else b"no audio")
    found = survey(Corpus(layout="folder", path=str(tmp_path)), DecodingSettings(), threads=2)
    assert found.recordings == 30 and found.usable == 20 and found.rejected.total() == 10 and found.sessions == 1


@pytest.fixture
def talks(tmp_path):
    """Four recordings of one and a half to three minutes, each of one talker of the demo corpus, and one short file."""
    folder = tmp_path / "talks"
    folder.mkdir()
    for talker, seconds in (("festvox_ru_nsh", 180), ("asterisk_allison", 90), ("asterisk_armelle", 120), ("klettres_it", 150)):
        once = np.concatenate([soundfile.read(path, dtype="int16")[0] for path in sorted((VOICES / talker).rglob("*.opus"))[:25]])
        soundfile.write(folder / f"{talker}.flac", np.tile(once, 1 + seconds * 16_000 // len(once))[: seconds * 16_000], 16_000)
    soundfile.write(folder / "short.flac", once[: 16_000 * 6], 16_000)
    return folder


def test_long_recordings_are_cut_and_all_else_follows_from_the_pieces(talks, tmp_path, capsys):
    into = tmp_path / "mine.yaml"
    options = ["--into", str(into), "--probe-seconds", "0", "--threads", "2", "--json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_configuration, "FEWEST", 60)
        assert main(["init", str(talks), *options]) == 0
    said = json.loads(capsys.readouterr().out)
    cut = spans_of(talks)
    assert said["recordings"] == 5 and said["usable"] == cut > 60
    experiment = resolve(overlaid(read_file(REPOSITORY / "config.yaml"), read_file(into)))
    assert experiment.corpora["train"].cut == CutSettings()
    expected = named([*size_choices(cut, np.full(9, 8.0)), *speaker_choices(cut, 5)])
    for key in ("pretrain.batch_size", "pretrain.head.prototypes", "cluster.clusters", "pack.shards"):
        assert said["settings"][key] == expected[key], key
    assert any("one talker" in note for note in said["notes"]) and not any("longer than a minute" in note for note in said["notes"])
    lines = into.read_text().splitlines()
    assert any(line.startswith("      longest_seconds: 10.0") and "cut at silences, one talker each" in line for line in lines)


def spans_of(folder) -> int:
    """How many utterances the recordings of a folder are cut into."""
    return sum(len(spans(soundfile.read(path, dtype="int16")[0], CutSettings())) for path in folder.iterdir())


def test_too_few_pieces_are_refused_and_recordings_with_trials_stay_whole(talks, tmp_path, capsys):
    command = ["init", str(talks), "--into", str(tmp_path / "mine.yaml"), "--probe-seconds", "0", "--threads", "1"]
    assert main(command) == 2
    assert f"{spans_of(talks)} utterances, cut from long recordings, can be used" in capsys.readouterr().err
    long = seen(seconds=np.full(9, 1800.0))
    assert {choice.key for choice in cut_choices(long, NAMES)} == {f"corpora.train.cut.{key}" for key in CutSettings.model_fields}
    for corpus, cut in (("train", False), ("test", True)):
        assert bool(cut_choices(long, NAMES._replace(trials={"mine": {"corpus": corpus, "path": "t"}}))) == cut
    assert not cut_choices(seen(), NAMES)


def test_a_sample_of_long_recordings_ends_after_some_hours(talks, monkeypatch):
    monkeypatch.setattr("selfsv.prepare.survey.SAMPLE_HOURS", 0.05)
    found = survey(Corpus(layout="folder", path=str(talks)), DecodingSettings(), threads=1)
    assert found.recordings == found.usable == 5
    assert 180 <= found.seconds.sum() < 360 and len(found.seconds) < 5
    cut = cut_up(found, CutSettings())
    assert cut.looked_at == len(found.seconds) and cut.usable == round(5 * len(cut.seconds) / len(found.seconds))
    assert cut.seconds.max() <= 10 and cut.seconds.min() >= 3 and cut.sessions == 5
    assert cut.hours == pytest.approx(found.hours, rel=0.2)


def test_the_command_writes_what_the_workflow_reads(tmp_path, capsys):
    into = tmp_path / "mine.yaml"
    command = ["init", str(VOICES), "--layout", "voxceleb", "--into", str(into), "--hours", "0.5", "--threads", "2"]
    assert main([*command, "--probe-seconds", "0", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["recordings"] == 1225 and said["settings"]["cluster.clusters"] == 57
    experiment = resolve(overlaid(read_file(REPOSITORY / "config.yaml"), read_file(into)))
    assert experiment.experiment == "mine" and experiment.corpora["train"].path == str(VOICES.resolve())
    assert main(command) == 2 and "--replace" in capsys.readouterr().err
    assert main([*command, "--probe-seconds", "0", "--replace", "--adaptive"]) == 0
    written = read_file(into)
    assert written["recipe"] == "adaptive" and "cluster" not in written and written["pretrain"]["epochs"] == experiment.pretrain.epochs
    assert written["utterances_per_speaker"] == pytest.approx(1225 / 38, abs=0.1)
    capsys.readouterr()
    few = [str(VOICES / "festvox_ru_nsh"), str(VOICES / "asterisk_allison"), str(VOICES / "asterisk_armelle")]
    (tmp_path / "few").mkdir()
    for talker in few:
        (tmp_path / "few" / Path(talker).name).symlink_to(talker)
    few_command = ["init", str(tmp_path / "few"), "--layout", "voxceleb", "--into", str(tmp_path / "few.yaml"), "--threads", "1"]
    assert main([*few_command, "--probe-seconds", "0", "--json"]) == 0
    assert any(note.startswith("3 speakers teach little") for note in json.loads(capsys.readouterr().out)["notes"])


def test_videos_come_to_rounds_with_faces(tmp_path, capsys):
    """The names of videos are all that is looked at here, and their sound."""
    folder = tmp_path / "talks"
    folder.mkdir()
    for number, path in enumerate(sorted(VOICES.rglob("*.opus"))[:110]):
        (folder / f"{number}{'.mp4' if number else '.opus'}").write_bytes(path.read_bytes())
    into, probe = tmp_path / "mine.yaml", ["--probe-seconds", "0", "--threads", "1", "--json"]
    assert main(["init", str(folder), "--video", "--into", str(into), *probe]) == 0
    said = json.loads(capsys.readouterr().out)
    assert any(note.startswith("1 of 110 recordings have no video") for note in said["notes"])
    experiment = resolve(overlaid(read_file(REPOSITORY / "config.yaml"), read_file(into)))
    demo = yaml.safe_load((REPOSITORY / "demo" / "av.yaml").read_text())
    assert experiment.modality == demo["modality"]
    encoder = experiment.faces.encoder
    assert {"width": encoder.width, "blocks": list(encoder.blocks), "input_side": encoder.input_side} == demo["faces"]["encoder"]
    assert into.read_text().index("modality: audio_visual") < into.read_text().index("corpora:")
    assert main(["init", str(VOICES), "--video", "--into", str(tmp_path / "none.yaml"), *probe]) == 2
    assert "has a video" in capsys.readouterr().err
    assert not {choice.key for choice in video_choices(on_gpu=True)} - {"modality"}


def test_long_videos_are_not_said_to_be_cut():
    long = seen(seconds=np.full(200, 1800.0))
    (note,) = remarks(long, None, video=True)
    assert "cut them before" in note and "corpora.train.cut" not in note


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["no such folder"], "does not exist"),
        ([str(VOICES), "--hours", "0"], "--hours 0"),
        ([str(VOICES), "--speakers", "1"], "--speakers 1"),
        ([str(VOICES), "--test", str(VOICES)], "--trials FILE"),
        ([str(VOICES), "--trials", "no such list"], "does not exist"),
    ],
)
def test_mistakes_are_said_at_once(options, message, tmp_path, capsys):
    assert main(["init", *options, "--into", str(tmp_path / "mine.yaml")]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_probe_trains_both_stages(tmp_path):
    """On real voices: a speed for each, of steps that were really made."""
    found = survey(Corpus(layout="voxceleb", path=str(VOICES)), DecodingSettings(), threads=2)
    small = {"encoder": {"channels": 8, "mfa_channels": 24, "bottleneck": 8, "embedding": 12}}
    values = overlaid(values_of(NAMES, choices(1_225, 1.0, 38)), {**small, "pretrain": {"batch_size": 4}, "train": {"batch_size": 4}})
    runtime = Runtime(torch.device("cpu"), 0, False, False, 600.0)
    speed = measured_speed(resolve(values), found.samples[:5], runtime, seconds=0.5)
    assert speed.pretrain > 0 and speed.train > 0
