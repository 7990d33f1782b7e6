"""The program as a shell runs it: what it prints, its exit status, its files."""

import io
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

import selfsv
from selfsv.__main__ import COMMANDS, main
from selfsv.cli import status
from selfsv.models.encoders import untrained
from selfsv.models.model_file import save_model
from selfsv.scoring.calibration import Calibration
from selfsv.settings.audio import FeatureSettings
from tests.conftest import REPOSITORY
from tests.hostile.conftest import run_stage
from tests.selfsv.conftest import ENCODER, VOICES, recording


@pytest.fixture
def call(capsys, experiment):
    """Runs a command on the experiment's model: exit status, output (parsed where it is JSON), messages."""

    def run(*arguments: object, model: object = experiment.folder) -> tuple[int, object, str]:
        options = [] if model is None else ["--model", str(model), "--device", "cpu"]
        threads = torch.get_num_threads()
        status = main([*map(str, arguments), *options])
        torch.set_num_threads(threads)
        captured = capsys.readouterr()
        return status, json.loads(captured.out) if "--json" in arguments else captured.out, captured.err

    return run


def trial_list(path: Path, experiment, count: int = 60) -> Path:
    rng = np.random.default_rng(3)
    lines = []
    for _ in range(count):
        first, second = rng.choice(len(experiment.utterances), 2, replace=False)
        target = experiment.speakers[first] == experiment.speakers[second]
        lines.append(f"{int(target)} {experiment.utterances[first]} {experiment.utterances[second]}.wav\n")
    path.write_text("".join(lines))
    return path


def test_embed_a_folder_and_score_it_like_the_workflow(call, experiment, tmp_path):
    (tmp_path / "voices").mkdir()
    for name in experiment.utterances:
        target = tmp_path / "voices" / f"{name}.opus"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(recording(name))
    status, text, _ = call("embed", tmp_path / "voices", "--output", tmp_path / "voices.parquet")
    table = pd.read_parquet(tmp_path / "voices.parquet")
    assert status == 0 and "24 recordings" in text and list(table["utterance"]) == list(experiment.utterances)
    np.testing.assert_allclose(np.stack(table["embedding"]), experiment.embeddings, atol=1e-4)

    trials = trial_list(tmp_path / "trials.txt", experiment)
    run_stage(
        "score",
        '--settings={"subtract_mean": true}',
        f"--trials={trials}",
        f"--embeddings={experiment.model.parent / 'embeddings' / 'train.parquet'}",
        f"--train-embeddings={experiment.model.parent / 'embeddings' / 'train.parquet'}",
        f"--pseudo-labels={experiment.model.parent / 'pseudo_labels.parquet'}",
        f"--output={tmp_path / 'expected.parquet'}",
        folder=tmp_path,
    )
    expected = pd.read_parquet(tmp_path / "expected.parquet")
    for source in (("--embeddings", tmp_path / "voices.parquet"), ("--audio", VOICES)):
        status, figures, _ = call("score", trials, *source, "--output", tmp_path / "scores.parquet", "--json")
        scores = pd.read_parquet(tmp_path / "scores.parquet")
        assert status == 0 and list(scores["target"]) == list(expected["target"])
        np.testing.assert_allclose(scores["cosine"], expected["cosine"], atol=1e-4)
        np.testing.assert_allclose(scores["snorm"], expected["snorm"], atol=1e-2)
        assert figures["targets"] == expected["target"].sum() and 0 <= figures["snorm"]["eer"] <= 1


def test_unusable_recordings_are_left_out_and_said(call, tmp_path, experiment):
    shutil.copy(recording(experiment.utterances[0]), tmp_path / "good.opus")
    (tmp_path / "bad.wav").write_text("no sound")
    status, found, messages = call("embed", tmp_path, "--output", tmp_path / "out.parquet", "--json")
    assert status == 3 and [row["utterance"] for row in found["embedded"]] == ["good"]
    assert "bad.wav" in found["rejected"][0]["recording"] and "bad.wav: not audio" in messages
    status, _, messages = call("embed", tmp_path / "bad.wav", "--output", tmp_path / "none.parquet")
    assert status == 2 and "none of the recordings" in messages and not (tmp_path / "none.parquet").exists()


def test_files_of_a_folder_that_are_not_looked_at_are_counted(call, tmp_path, experiment, caplog):
    (tmp_path / "voices" / "more").mkdir(parents=True)
    shutil.copy(recording(experiment.utterances[0]), tmp_path / "voices" / "good.opus")
    for name in ("a.odd", "more/b.ODD", "more/c.sidecar", "notes", ".hidden.odd"):
        (tmp_path / "voices" / name).write_text("")
    assert call("embed", tmp_path / "voices", "--json")[0] == 0
    assert "left out 4 files with other endings (2 .odd, " in caplog.text
    status, _, messages = call("embed", tmp_path / "voices" / "more", "--output", tmp_path / "v.parquet")
    assert status == 2 and "no audio files" in messages and "there are 2 files with other endings (1 .odd, 1 .sidecar)" in messages


def test_standard_input_is_a_recording(call, experiment, monkeypatch):
    path = recording(experiment.utterances[1])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    status, found, _ = call("embed", "-", "--json")
    assert status == 0
    np.testing.assert_allclose(found["embedded"][0]["embedding"], experiment.embeddings[1], atol=1e-4)


def test_verify_decides_by_its_exit_status(call, experiment):
    same = recording(experiment.utterances[0])
    other = recording(experiment.utterances[-1])
    status, found, _ = call("verify", same, same, "--threshold", 0.9, "--json")
    assert status == 0 and found["same"] is True and found["score"] == pytest.approx(1, abs=1e-5)
    status, found, _ = call("verify", same, other, "--threshold", 0.9999, "--json")
    assert status == 1 and found["same"] is False
    status, text, _ = call("verify", same, other, "--threshold", 0.9999)
    assert status == 1 and text.splitlines()[1].startswith("different speakers: scores of 0.9999 and above")


def test_verify_without_a_threshold_decides_nothing(call, experiment):
    same = recording(experiment.utterances[0])
    status, found, _ = call("verify", same, same, "--json")
    assert status == 4 and found["same"] is None and found["decided"] is False and "--threshold" in found["meaning"]
    status, text, _ = call("verify", same, same)
    assert status == 4 and text.splitlines()[1].startswith("no decision:")
    status, _, messages = call("verify", same, same, "--at", "far=0.01")
    assert status == 2 and "--trials" in messages


@pytest.fixture
def calibrated(experiment, tmp_path) -> Path:
    """A copy of the experiment with a calibration, of which there is a doubt."""
    shutil.copytree(experiment.folder, tmp_path / "calibrated")
    rows = [Calibration("cosine", -9.0, 10.0, 1.0, 0.5, "few pairs")._asdict() | {"chosen": True}]
    pd.DataFrame(rows).to_parquet(tmp_path / "calibrated" / "iter_1" / "calibration.parquet")
    return tmp_path / "calibrated"


@pytest.mark.parametrize("exported", [False, True])
def test_verify_decides_by_the_more_probable(call, experiment, calibrated, exported, tmp_path):
    """The posterior is Bayes' rule on the ratio; the weights are those of the file, and travel with an export."""
    model = calibrated
    if exported:
        call("export", calibrated, "--into", tmp_path / "exported", model=None)
        model = tmp_path / "exported"
    one, other = recording(experiment.utterances[0]), recording(experiment.utterances[-1])
    status, found, _ = call("verify", one, other, "--json", model=model)
    ours = selfsv.load(model, "cpu")
    pair = ours.directions(np.stack([ours.embed_file(path).numpy() for path in (one, other)]))
    seconds = [soundfile.info(path).duration for path in (one, other)]
    expected = -9.0 + 10.0 * found["score"] + np.log(min(seconds)) + 0.5 * ours.statistics(pair)[0].mean()
    assert found["llr"] == pytest.approx(expected, abs=1e-3)
    for prior in (0.5, 0.01, 0.999):
        status, found, _ = call("verify", one, other, "--prior", prior, "--json", model=model)
        odds = np.exp(found["llr"]) * prior / (1 - prior)
        assert found["posterior"] == pytest.approx(odds / (1 + odds), rel=1e-6)
        assert found["same"] is bool(odds >= 1) and found["decided"] is True and status == (0 if odds >= 1 else 1)
    status, text, _ = call("verify", one, one, "--prior", 0.9, model=model)
    assert status == 0 and "log-likelihood ratio" in text and "not from labelled trials" in text
    assert "do not trust the ratio: few pairs" in text
    status, found, _ = call("verify", one, one, "--threshold", 2, "--json", model=model)
    assert status == 1 and found["same"] is False and found["threshold"] == 2 and found["posterior"] > 0.5


@pytest.mark.parametrize("prior", [0, 1, -0.1, "nan"])
def test_a_prior_is_a_probability(call, experiment, prior):
    voice = recording(experiment.utterances[0])
    status, _, messages = call("verify", voice, voice, "--prior", prior)
    assert status == 2 and "--prior" in messages and "between 0 and 1" in messages


def test_identify_without_a_threshold_says_that_it_only_ranks(call, experiment, tmp_path):
    gallery, stranger = tmp_path / "g.parquet", recording(experiment.utterances[-1])
    call("enroll", "--gallery", gallery, "--speaker", "Ada", recording(experiment.utterances[0]))
    status, found, _ = call("identify", "--gallery", gallery, stranger, "--json")
    assert status == 0 and found["decided"] is False and "only the nearest enrolled speaker" in found["meaning"]
    assert "only the nearest enrolled speaker" in call("identify", "--gallery", gallery, stranger)[1]
    status, found, _ = call("identify", "--gallery", gallery, stranger, "--threshold", -1, "--json")
    assert status == 0 and found["decided"] is True and found["threshold"] == -1


def test_verify_by_a_threshold_chosen_on_trials(call, experiment, tmp_path):
    trials = trial_list(tmp_path / "trials.txt", experiment)
    call("score", trials, "--audio", VOICES, "--output", tmp_path / "scores.parquet")
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    same = recording(experiment.utterances[0])
    status, found, _ = call("verify", same, same, "--trials", tmp_path / "scores.parquet", "--at", "far=0.0", "--norm", "snorm", "--json")
    assert found["threshold"] > scores.loc[~scores["target"], "snorm"].max()
    assert "0.00 % of the different-speaker trials" in found["meaning"]
    status, _, messages = call("verify", same, same, "--trials", trials)
    assert status == 2 and "selfsv score" in messages


@pytest.fixture(scope="module")
def embedded(experiment) -> Path:
    """The workflow's embeddings of the experiment's utterances."""
    return experiment.model.parent / "embeddings" / "train.parquet"


def test_scores_are_written_in_the_format_of_the_ending(call, experiment, embedded, tmp_path):
    trials = trial_list(tmp_path / "trials.txt", experiment)
    for name in ("scores.parquet", "scores.csv", "scores.TXT", "snorm.txt"):
        options = ("--norm", "snorm") if name == "snorm.txt" else ()
        assert call("score", trials, "--embeddings", embedded, "--output", tmp_path / name, *options)[0] == 0
    table = pq.read_table(tmp_path / "scores.parquet").to_pandas()
    csv = pd.read_csv(tmp_path / "scores.csv")
    assert list(csv.columns) == list(table.columns) and list(csv["target"]) == list(table["target"].astype(int))
    np.testing.assert_array_equal(csv["snorm"].astype(np.float32), table["snorm"])
    for name, norm in (("scores.TXT", "cosine"), ("snorm.txt", "snorm")):
        lines = [line.split(" ") for line in (tmp_path / name).read_text().splitlines()]
        assert [line[:2] for line in lines] == [line.split()[1:] for line in trials.read_text().splitlines()]
        np.testing.assert_allclose([float(line[2]) for line in lines], table[norm], atol=1e-6)


def test_a_score_file_is_judged_by_its_content(call, experiment, embedded, tmp_path):
    trials, same = trial_list(tmp_path / "trials.txt", experiment), recording(experiment.utterances[0])
    for name in ("scores.parquet", "scores.csv", "text.txt"):
        call("score", trials, "--embeddings", embedded, "--output", tmp_path / name)
    shutil.copy(tmp_path / "scores.parquet", tmp_path / "parquet.txt")
    shutil.copy(tmp_path / "scores.csv", tmp_path / "csv.parquet")
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "scores.csv").read_bytes().replace(b"\n", b"\r\n"))
    thresholds = [
        call("verify", same, same, "--trials", tmp_path / name, "--norm", "snorm", "--json")[1]["threshold"]
        for name in ("scores.parquet", "scores.csv", "parquet.txt", "csv.parquet", "bom.csv")
    ]
    assert thresholds == pytest.approx([thresholds[0]] * 5, rel=1e-6)
    (tmp_path / "odd.csv").write_text("target,cosine\n1,0.5\nperhaps,0.5\n")
    (tmp_path / "worse.csv").write_text("target,cosine\n1,high\n")
    (tmp_path / "image.csv").write_bytes(b"\x89PNG\xff\xfe")
    for name, message in (
        ("text.txt", "no scores beside labels"),
        ("trials.txt", "selfsv score"),
        ("odd.csv", "row 2"),
        ("worse.csv", "worse.csv is damaged"),
        ("image.csv", "neither as Parquet nor as CSV"),
        ("none.csv", "none.csv does not exist"),
    ):
        status, output, messages = call("verify", same, same, "--trials", tmp_path / name)
        assert status == 2 and message in messages and output == "" and len(messages.splitlines()) == 1
    status, _, messages = call("verify", same, same, "--trials", tmp_path / "odd.csv", "--norm", "snorm")
    assert status == 2 and "--norm" in messages


@pytest.mark.parametrize(
    ("arguments", "ending"),
    [
        (["score", "no.txt", "--audio", ".", "--output", "s.npy"], ".npy"),
        (["score", "no.txt", "--audio", ".", "--output", "scores"], "without an ending"),
        (["embed", "no.wav", "--output", "v.npy"], ".npy"),
        (["embed", "no.wav", "--output", "v.csv"], ".csv"),
        (["enroll", "no.wav", "--speaker", "Ada", "--gallery", "g.json"], ".json"),
    ],
)
def test_other_endings_are_refused_before_anything_is_read(call, tmp_path, monkeypatch, arguments, ending):
    monkeypatch.chdir(tmp_path)
    status, output, messages = call(*arguments, model="no model")
    assert status == 2 and output == "" and ending in messages and ".parquet" in messages and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", [0, 1])
def test_a_list_of_one_kind_is_refused_before_embedding(call, experiment, embedded, tmp_path, monkeypatch, label):
    names = experiment.utterances
    (tmp_path / "trials.txt").write_text("".join(f"{label} {first} {names[0]}\n" for first in names[1:4]))
    with monkeypatch.context() as patch:
        patch.setattr("selfsv.cli.score.embedded", lambda *_: pytest.fail("embedded"))
        status, _, messages = call("score", tmp_path / "trials.txt", "--audio", VOICES)
    assert status == 2 and "need both kinds" in messages and "--output" in messages
    options = ("--embeddings", embedded, "--output", tmp_path / "s.txt")
    status, found, messages = call("score", tmp_path / "trials.txt", *options, "--json")
    assert status == 0 and found["cosine"] is None and len((tmp_path / "s.txt").read_text().splitlines()) == 3


def test_repeats_and_trials_with_oneself_are_counted(call, experiment, embedded, tmp_path, caplog):
    a, b, c = experiment.utterances[:3]
    lines = [f"1 {a} {b}", f"0 {a} {c}", f"1 {a} {b}.wav", f"1 {a} {a}", f"0 {a} {b}"]
    (tmp_path / "trials.txt").write_text("\n".join(lines))
    assert call("score", tmp_path / "trials.txt", "--embeddings", embedded)[0] == 0
    text = caplog.text
    assert "1 of 5 trials repeat an earlier one" in text and "1 of 5 trials compare an utterance with itself" in text
    assert "1 pairs of utterances have trials of both labels" in text


def test_enroll_and_identify(call, experiment, tmp_path):
    gallery = tmp_path / "gallery.parquet"
    people = sorted(set(experiment.speakers))
    mine = {person: [name for name in experiment.utterances if name.startswith(f"{person}/")] for person in people}
    for person in people:
        status, found, _ = call("enroll", "--gallery", gallery, "--speaker", person, *map(recording, mine[person][:2]), "--json")
        assert status == 0 and found["speakers"][person] == 2
    probe = recording(mine[people[2]][0])  # one that was enrolled, and one more
    status, found, _ = call("identify", "--gallery", gallery, probe, recording(mine[people[0]][3]), "--top", 6, "--json")
    assert status == 0 and next(iter(found["identified"][0]["ranked"])) == people[2] == found["identified"][0]["speaker"]

    row = {name: index for index, name in enumerate(experiment.utterances)}
    directions = experiment.embeddings - experiment.embeddings.mean(axis=0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for person, score in found["identified"][1]["ranked"].items():
        centre = directions[[row[name] for name in mine[person][:2]]].mean(axis=0)
        assert score == pytest.approx(directions[row[mine[people[0]][3]]] @ centre / np.linalg.norm(centre), abs=1e-4)

    assert call("identify", "--gallery", gallery, probe, "--threshold", 1.1)[0] == 1
    status, found, _ = call("enroll", "--gallery", gallery, "--remove", people[0], "--json")
    assert status == 0 and people[0] not in found["speakers"] and len(found["speakers"]) == 5
    assert call("enroll", "--gallery", gallery, "--remove", people[0])[0] == 2


def test_everybody_with_a_folder_is_enrolled(call, experiment, tmp_path, caplog):
    for person in sorted(set(experiment.speakers))[:3]:
        (tmp_path / "people" / person).mkdir(parents=True)
        name = next(name for name in experiment.utterances if name.startswith(f"{person}/"))
        shutil.copy(recording(name), tmp_path / "people" / person / "one.opus")
    shutil.copy(tmp_path / "people" / person / "one.opus", tmp_path / "people" / "nobodys.opus")
    status, found, _ = call("enroll", "--gallery", tmp_path / "g.parquet", "--folder", tmp_path / "people", "--json")
    assert "1 recordings are left out, as they are in no speaker's folder" in caplog.text
    assert status == 0 and found["speakers"] == dict.fromkeys(sorted(set(experiment.speakers))[:3], 1)


def test_recordings_of_one_name_add_up_and_one_file_counts_once(call, experiment, tmp_path, monkeypatch):
    gallery = tmp_path / "g.parquet"

    def enrolled(*arguments: object) -> tuple[int, int, int, int]:
        status, found, _ = call("enroll", "--gallery", gallery, *arguments, "--json")
        assert status == 0
        return found["speakers"]["Ada"], found["added"], found["unchanged"], found["replaced"]

    for day, name in enumerate(experiment.utterances[:4]):
        folder = tmp_path / f"day{day}" / "Ada"
        folder.mkdir(parents=True)
        shutil.copy(recording(name), folder / "001.opus")
    days = [tmp_path / f"day{day}" for day in range(4)]
    assert enrolled("--speaker", "Ada", days[0]) == (1, 1, 0, 0)
    assert enrolled("--speaker", "Ada", days[1] / "Ada") == (2, 1, 0, 0)
    assert enrolled("--folder", days[2]) == (3, 1, 0, 0)
    before = gallery.read_bytes()
    assert enrolled("--folder", days[2]) == (3, 0, 1, 0)
    assert enrolled("--speaker", "Ada", recording(experiment.utterances[0]), *days[:3]) == (3, 0, 4, 0)
    assert gallery.read_bytes() == before
    assert "1 known already" in call("enroll", "--gallery", gallery, "--folder", days[2])[1]
    monkeypatch.chdir(days[3] / "Ada")
    assert enrolled("--speaker", "Ada", "001.opus") == (4, 1, 0, 0)
    for count, name in enumerate(experiment.utterances[4:6], start=5):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(recording(name).read_bytes())))
        assert enrolled("--speaker", "Ada", "-") == (count, 1, 0, 0)
    table = pd.read_parquet(gallery)
    assert table["recording"].is_unique and len(table) == 6
    near = np.abs(np.stack(table["embedding"])[:, None] - experiment.embeddings[:6]).max(axis=2) < 1e-4
    assert near.any(axis=0).all() and near.any(axis=1).all()


def test_a_gallery_of_an_earlier_version_is_read(call, experiment, tmp_path):
    """It holds no contents: a recording is known by its name and embedding. One with another embedding counts as replaced."""
    gallery, file = tmp_path / "g.parquet", tmp_path / "one.opus"
    shutil.copy(recording(experiment.utterances[0]), file)
    call("enroll", "--gallery", gallery, "--speaker", "Ada", file)
    table = pq.read_table(gallery)
    pq.write_table(table.drop_columns(["content"]), gallery)
    status, found, _ = call("enroll", "--gallery", gallery, "--speaker", "Ada", file, "--json")
    assert status == 0 and found["speakers"] == {"Ada": 1} and found["unchanged"] == 1
    assert pq.read_table(gallery).equals(table)
    other = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(24, np.float32)), 24)
    pq.write_table(table.set_column(table.column_names.index("embedding"), "embedding", other), gallery)
    status, found, _ = call("enroll", "--gallery", gallery, "--speaker", "Ada", file, "--json")
    assert found["speakers"] == {"Ada": 1} and found["replaced"] == 1 and pq.read_table(gallery).equals(table)


def test_two_formats_of_one_recording_are_compared(call, experiment, tmp_path):
    samples, rate = soundfile.read(recording(experiment.utterances[0]))
    for extension in ("wav", "flac"):
        soundfile.write(tmp_path / f"a.{extension}", samples, rate)
    status, found, _ = call("verify", tmp_path / "a.wav", tmp_path / "a.flac", "--threshold", 0.99, "--json")
    assert status == 0 and found["same"] is True


def test_a_gallery_belongs_to_its_model(call, experiment, tmp_path):
    call("enroll", "--gallery", tmp_path / "g.parquet", "--speaker", "Ada", recording(experiment.utterances[0]))
    features = FeatureSettings()
    save_model(tmp_path / "model.pt", ENCODER, features, untrained(ENCODER, features.mel_bins, 7, 7).state_dict(), stage="test")
    status, _, messages = call(
        "identify", "--gallery", tmp_path / "g.parquet", recording(experiment.utterances[0]), model=tmp_path / "model.pt"
    )
    assert status == 2 and "belongs to another model" in messages
    status, _, messages = call("embed", VOICES / "nobody", "--output", tmp_path / "x.parquet")
    assert status == 2 and "nobody" in messages


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embed", "a.wav"], "--output"),
        (["verify", "-", "-"], "once"),
        (["verify", str(VOICES), "a.wav"], "verify compares two files"),
        (["identify", "--gallery", "no.parquet", "a.wav"], "no.parquet does not exist"),
        (["enroll", "--gallery", "no.parquet", "--speaker", "Ada"], "recordings"),
        (["enroll", "--gallery", "no.parquet", "--remove", "Ada"], "no.parquet does not exist"),
        (["score", "no.txt", "--audio", "."], "no.txt does not exist"),
    ],
)
def test_mistakes_end_in_one_message(call, arguments, message):
    status, output, messages = call(*arguments)
    assert status == 2 and message in messages and output == "" and "Traceback" not in messages


def test_inspect_an_experiment_and_a_model(call, experiment):
    status, found, _ = call("inspect", experiment.folder, "--json", model=None)
    assert status == 0 and [row["system"] for row in found["systems"]] == ["iter_0", "iter_1"]
    assert found["settings"]["pretrain"]["dino"]["pairing"] == "all_but_same" and found["model"]["embedding"] == 24
    status, found, _ = call("inspect", experiment.model, "--json", model=None)
    assert found["model"]["parameters"] == sum(value.numel() for value in untrained(ENCODER, 80, 1, 1).parameters())
    assert found["model"]["provenance"]["iteration"] == 1 and found["model"]["mean_subtraction"] is True
    status, text, _ = call("inspect", experiment.folder, model=None)
    assert "ECAPA-TDNN of 16 channels" in text and "DLG-LC round 1" in text and "cosine after mean subtraction, s-norm" in text


def test_an_experiment_of_an_earlier_version_is_inspected_and_exported(call, experiment, tmp_path):
    """Its settings have a key `recipe`, which is gone."""
    older = Path(shutil.copytree(experiment.folder, tmp_path / "older"))
    settings = json.loads((older / "settings.json").read_text())
    (older / "settings.json").write_text(json.dumps({**settings, "recipe": "strong"}))
    status, found, _ = call("inspect", older, "--json", model=None)
    assert status == 0 and found["settings"] == settings and found["model"]["mean_subtraction"] is True
    assert call("inspect", older, model=None)[0] == 0
    status, _, messages = call("export", older, "--into", tmp_path / "exported", model=None)
    assert status == 0, messages
    status, found, _ = call("inspect", tmp_path / "exported", "--json", model=None)
    assert status == 0 and found["model"]["mean_subtraction"] is True


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0
    assert all(name in text for name in ("embed", "verify", "enroll", "identify", "score", "compare", "export", "push", "inspect"))


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_every_help_and_the_page_list_every_exit_status(command, capsys):
    constants = {value for name, value in vars(status).items() if name.isupper() and isinstance(value, int)}
    with pytest.raises(SystemExit):
        main([*filter(None, [command]), "--help"])
    listed = re.findall(r"^  (\d+) ", capsys.readouterr().out.partition("exit status:")[2], re.MULTILINE)
    page = (REPOSITORY / "docs" / "use-a-model.md").read_text().partition("| status | meaning |")[2].partition("\n\n")[0]
    assert set(map(int, listed)) == set(map(int, re.findall(r"^\| (\d+) \|", page, re.MULTILINE))) == constants
