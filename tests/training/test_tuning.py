"""Fine-tuning: which labels it is told, where it starts, what a large margin starts from, and the average of checkpoints."""

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline import finetune, large_margin
from selfsv.artifacts import write_embeddings
from selfsv.data.labelled import draw_labelled
from selfsv.errors import InputError
from selfsv.losses.classifiers import knowing_classifier
from selfsv.methods.finetuning import FINETUNING
from selfsv.models.encoders import untrained
from selfsv.models.model_file import save_model
from selfsv.settings.audio import AugmentationSettings, FeatureSettings
from selfsv.settings.jobs import CompleteTuneJob, TuneJob
from selfsv.settings.section import validated
from selfsv.settings.train import AamTraining
from tests.training.workshop import ENCODER, TUNE, Workshop, assert_same, weights

NAMES = np.array([f"{speaker}/{number}" for number in range(10) for speaker in "abcde"])


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def speakers(tmp_path) -> Path:
    """The speakers of all of NAMES."""
    path = tmp_path / "speakers.parquet"
    pd.DataFrame({"utterance": NAMES, "speaker": [name[0] for name in NAMES]}).to_parquet(path)
    return path


def drawn(path: Path, percent: int, seed: int = 1, utterances: np.ndarray = NAMES):
    return draw_labelled(path, utterances, percent, seed, FINETUNING)


# What it is told ------------------------------------------------------------------------------------------------------


def test_a_smaller_part_lies_within_a_larger_one(speakers):
    parts = [drawn(speakers, percent).drawn for percent in (10, 20, 50, 100)]
    assert [int(part.sum()) for part in parts] == [5, 10, 25, 50]
    assert all((smaller <= larger).all() for smaller, larger in pairwise(parts))
    assert (drawn(speakers, 10).drawn == parts[0]).all() and (drawn(speakers, 10, seed=2).drawn != parts[0]).any()


def test_labels_are_those_of_the_drawn_utterances(speakers):
    part = drawn(speakers, 50)
    pairs = {(name[0], label) for name, label in zip(NAMES[part.drawn], part.labels, strict=True)}
    assert len(pairs) == part.speakers == 5 and {label for _, label in pairs} == set(range(5))


def test_utterances_without_a_speaker_are_left_out_and_counted(speakers, caplog):
    table = pd.read_parquet(speakers)
    table.loc[3, "speaker"] = None
    table.drop(index=[7, 11]).to_parquet(speakers)
    with caplog.at_level("INFO"):
        part = drawn(speakers, 100)
    assert set(np.flatnonzero(~part.drawn)) == {3, 7, 11}
    assert "3 of 50 utterances have no known speaker and are left out" in caplog.text


def test_neither_names_nor_the_labels_of_others_matter(speakers):
    part, table = drawn(speakers, 20), pd.read_parquet(speakers)
    table.loc[~part.drawn, "speaker"] = [f"stranger {number}" for number in range((~part.drawn).sum())]
    table.loc[part.drawn, "speaker"] = "Z" + table.loc[part.drawn, "speaker"]
    table.to_parquet(speakers)
    assert drawn(speakers, 20).fingerprint() == part.fingerprint()
    table.loc[np.flatnonzero(part.drawn)[0], "speaker"] = "someone else"
    table.to_parquet(speakers)
    assert drawn(speakers, 20).fingerprint() != part.fingerprint()


@pytest.mark.parametrize(
    ("table", "percent", "message"),
    [
        ({"utterance": [], "speaker": []}, 100, r"speakers\.parquet names the speaker of none of the 50 utterances.*finetune\.corpus"),
        ({"utterance": NAMES, "speaker": "one"}, 100, r"are 50, of 1 speaker: two at least are needed\. Raise finetune\.percent"),
        ({"utterance": NAMES, "speaker": NAMES}, 1, r"1 % of the 50 labelled utterances .* are 0, of 0 speakers"),
        ({"utterance": ["a/0", "a/0"], "speaker": ["a", "b"]}, 100, r"names the speaker of 'a/0' twice"),
    ],
    ids=["nobody", "one", "too small a part", "twice"],
)
def test_a_corpus_that_cannot_be_learnt_from_is_named(speakers, table, percent, message):
    pd.DataFrame(table).to_parquet(speakers)
    with pytest.raises(InputError, match=message):
        drawn(speakers, percent)


def test_missing_speakers_are_named(tmp_path):
    with pytest.raises(InputError, match=r"speakers\.parquet does not exist"):
        drawn(tmp_path / "speakers.parquet", 10)


# The stages -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stage(packed, banks, tmp_path, monkeypatch):
    """Calls a stage's `main` as its script does, on the cut of the demo corpus."""
    names = pd.read_parquet(packed.paths[0])["utterance"]
    table = pd.DataFrame({"utterance": names, "speaker": packed.speakers})

    def call(module, name: str, *options: object, speakers: pd.DataFrame | None = None, **changes: Any) -> dict[str, Any]:
        folder = tmp_path / name
        folder.mkdir()
        tune = validated(AamTraining, {**TUNE, **changes})
        job = TuneJob(seed=1, augmentation=AugmentationSettings(), tune=tune)
        if "--start" not in options:
            job = CompleteTuneJob(**dict(job), features=FeatureSettings(), encoder=ENCODER)
        arguments: list[object] = ["--settings", job.to_json(), "--manifest", packed.paths[0], "--audio", *packed.paths[1]]
        arguments += ["--noise", banks[0], "--rirs", banks[1], "--state", folder / "state", "--device", "cpu", "--threads", 1]
        arguments += ["--history", folder / "history.parquet", "--model", folder / "model.pt", *options]
        if module is finetune:
            (table if speakers is None else speakers).to_parquet(folder / "speakers.parquet")
            arguments += ["--speakers", folder / "speakers.parquet"]
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        module.main()
        return torch.load(folder / "model.pt", weights_only=True)

    call.table = table  # type: ignore[attr-defined]
    return call


@pytest.fixture
def start(tmp_path) -> Path:
    """A model to start from, which no seed of a tuning gives."""
    save_model(tmp_path / "start.pt", ENCODER, FeatureSettings(), untrained(ENCODER, 80, 77, 5).state_dict())
    return tmp_path / "start.pt"


# One step, at the beginning of a warm-up: its rate is 0.
STILL = {"epochs": 1, "batch_size": 24, "optimiser": {"warmup_epochs": 1}}


def parameters(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in weights.items() if "running" not in name and "num_batches" not in name}


def test_an_encoder_is_where_it_starts(stage, start):
    found = stage(finetune, "still", "--percent", 100, "--start", start, **STILL)
    assert_same(parameters(found["weights"]), parameters(torch.load(start, weights_only=True)["weights"]))
    assert found["provenance"]["labels"] == {"percent": 100, "utterances": 24, "speakers": 6}


def test_random_weights_are_those_of_the_baseline(stage):
    found = stage(finetune, "still", "--percent", 100, **STILL)
    assert_same(parameters(found["weights"]), parameters(untrained(ENCODER, 80, 1, 0).state_dict()))


def test_no_label_outside_of_the_part_has_an_influence(stage, start, tmp_path):
    """Not by a bit."""
    table = stage.table
    table.to_parquet(tmp_path / "all.parquet")
    part = drawn(tmp_path / "all.parquet", 50, utterances=table["utterance"].to_numpy()).drawn
    others = table.assign(speaker=np.where(part, table["speaker"], [f"nobody {row}" for row in range(len(table))]))
    one = stage(finetune, "finetuned", "--percent", 50, "--start", start)
    other = stage(finetune, "others", "--percent", 50, "--start", start, speakers=others)
    assert_same(one["weights"], other["weights"])
    assert one["provenance"] == other["provenance"]
    swapped = table.assign(speaker=np.where(part, np.roll(table["speaker"], 1), table["speaker"]))
    changed = stage(finetune, "swapped", "--percent", 50, "--start", start, speakers=swapped)
    assert not torch.equal(changed["weights"]["embed.weight"], one["weights"]["embed.weight"])


def test_two_speakers_are_enough(stage):
    few = stage.table.assign(speaker=np.where(np.arange(24) < 20, None, np.where(np.arange(24) < 22, "a", "b")))
    found = stage(finetune, "few", "--percent", 100, speakers=few)
    assert found["provenance"]["labels"] == {"percent": 100, "utterances": 4, "speakers": 2}
    assert all(value.isfinite().all() for value in found["weights"].values())


def test_what_was_never_trained_cannot_be_tuned(stage, tmp_path):
    save_model(tmp_path / "fbank.pt", None, FeatureSettings(), {})
    with pytest.raises(InputError, match=r"fbank\.pt holds nothing that can be trained"):
        stage(finetune, "nothing", "--percent", 100, "--start", tmp_path / "fbank.pt")


@pytest.fixture
def pseudo(stage, tmp_path) -> list[object]:
    """Options that name pseudo labels and embeddings: those of a class point one way, roughly."""
    labels = np.arange(24) % 4
    embeddings = np.random.default_rng(0).normal(size=(24, 12)) * 0.1 + np.eye(12)[labels] * 3
    names = stage.table["utterance"].to_numpy()
    pd.DataFrame({"utterance": names, "label": labels}).to_parquet(tmp_path / "labels.parquet")
    shuffled = np.random.default_rng(1).permutation(24)
    write_embeddings(tmp_path / "embeddings.parquet", names[shuffled], embeddings[shuffled])
    return ["--labels", tmp_path / "labels.parquet", "--embeddings", tmp_path / "embeddings.parquet"]


def test_a_large_margin_starts_from_the_encoder_and_the_classes_means(stage, start, pseudo, monkeypatch):
    seen = []

    def watched(tune, means, *key):
        seen.append(means)
        return knowing_classifier(tune, means, *key)

    monkeypatch.setattr(large_margin, "knowing_classifier", watched)
    found = stage(large_margin, "large_margin", "--start", start, *pseudo, **STILL)
    assert_same(parameters(found["weights"]), parameters(torch.load(start, weights_only=True)["weights"]))
    table = pd.read_parquet(pseudo[3]).set_index("utterance").join(pd.read_parquet(pseudo[1]).set_index("utterance"))
    units = np.stack(table["embedding"]) / np.linalg.norm(np.stack(table["embedding"]), axis=1, keepdims=True)
    expected = np.stack([units[table["label"] == label].mean(axis=0) for label in range(4)])
    np.testing.assert_allclose(seen[0].numpy(), expected, atol=1e-6)
    np.testing.assert_array_equal(knowing_classifier(AamTraining(), seen[0], 1, 1).weight.detach().numpy(), seen[0].numpy())


def test_embeddings_of_something_else_are_refused(stage, start, pseudo):
    names = stage.table["utterance"].to_numpy()
    write_embeddings(pseudo[3], names, np.ones((24, 5)))
    with pytest.raises(InputError, match="have 5 dimensions, the encoder's have 12: extract again"):
        stage(large_margin, "other", "--start", start, *pseudo)
    write_embeddings(pseudo[3], names[:20], np.ones((20, 12)))
    with pytest.raises(InputError, match="has no embedding of"):
        stage(large_margin, "fewer", "--start", start, *pseudo)


# Learning -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workshop(packed, banks) -> Workshop:
    return Workshop(packed, banks, None)


def test_tuning_learns(workshop, tmp_path):
    optimiser = {"learning_rate": 0.03, "final_learning_rate": 0.01}
    no_margin = {"margin": 0.0, "margin_start_epoch": 0, "margin_full_epoch": 1}
    rows = workshop.trained(workshop.tuning(epochs=20, aam=no_margin, optimiser=optimiser), tmp_path)
    assert np.mean([row["loss"] for row in rows[-5:]]) < 0.6 * rows[0]["loss"]


def test_a_round_ends_as_the_mean_of_its_last_checkpoints(workshop, tmp_path):
    """Weights by hand; statistics so that the average gives in evaluation what it gives in training, nearly."""
    method = workshop.gated(average_last=2)
    states, original = [], method.end_epoch

    def end_epoch(epoch: int):
        states.append({name: value.clone() for name, value in method.weights("audio").items()})
        return original(epoch)

    method.end_epoch = end_epoch
    workshop.trained(method, tmp_path)
    found = weights(method)
    assert len(states) == 4
    for name in parameters(found):
        torch.testing.assert_close(found[name], (states[2][name] + states[3][name]) / 2, msg=name)
    means = {name: (states[2][name] + states[3][name]) / 2 for name in found if "running" in name}
    assert any(not torch.allclose(found[name], mean) for name, mean in means.items())


def test_an_average_of_one_is_the_last_checkpoint(workshop, tmp_path):
    one, none = workshop.gated(average_last=1), workshop.gated()
    workshop.trained(one, tmp_path / "one")
    workshop.trained(none, tmp_path / "none")
    assert_same(weights(one), weights(none))
