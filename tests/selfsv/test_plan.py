"""`selfsv plan`: what would be refused later is refused before, and its figures are those of closed forms."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from selfsv.__main__ import main
from selfsv.artifacts import write_table
from selfsv.cli.plan import experiment_of
from selfsv.engine.footprint import Machines
from selfsv.methods.ca_dino import DinoNetwork
from selfsv.methods.footprints import footprints
from selfsv.models.encoders import untrained
from selfsv.models.projection_head import ProjectionHead
from selfsv.report.plan_checks import memory_problems
from selfsv.settings.experiment import resolve
from selfsv.settings.section import merged

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
UTTERANCES, HOURS = 400, 2.5
MINE: dict[str, Any] = {
    "experiment": "mine",
    "rounds": 1,
    "corpora": {"train": {"layout": "folder", "path": "/data"}},
    "noise": {"minutes_per_kind": 0.5},
    "rirs": {"simulated_rooms": 6},
    "encoder": {"channels": 16, "mfa_channels": 24, "bottleneck": 8, "embedding": 12},
    "pretrain": {
        "epochs": 10,
        "batch_size": 32,
        "crops": {"long_seconds": 1.0, "short_seconds": 0.5},
        "head": {"hidden": 16, "bottleneck": 8, "prototypes": 64},
        "cluster_aware": {"clusters": 40, "start_epoch": 5},
    },
    "cluster": {"clusters": 50},
    "train": {"epochs": 20, "batch_size": 32, "crop_seconds": 1.0},
}
SIZES = ("--utterances", str(UTTERANCES), "--hours", str(HOURS))


@pytest.fixture
def plan(tmp_path, capsys):
    """Status, JSON or text, and messages of the command on `MINE` with changes."""

    def call(*options: str, **changes: Any) -> tuple[int, Any, str]:
        mine = tmp_path / "mine.yaml"
        mine.write_text(yaml.safe_dump(merged(MINE, changes)))
        status = main(["plan", str(mine), "--results", str(tmp_path / "results"), *options])
        text, messages = capsys.readouterr()
        return status, json.loads(text) if text and "--json" in options else text, messages

    return call


def test_figures_are_those_of_closed_forms(plan):
    status, found, messages = plan("--gpus", "2", *SIZES, "--json")
    assert status == 0, messages
    experiment = resolve(MINE)
    network = DinoNetwork(untrained(experiment.encoder, 80, 1, 0), ProjectionHead(experiment.pretrain.head, 12))
    weights = 4 * sum(parameter.numel() for parameter in network.parameters())
    stage_one, one_round = found["trainings"]
    assert stage_one["sent_gradients"] == weights == stage_one["memory_of"]["gradients"]
    assert stage_one["sent_bytes"] > weights and stage_one["messages"] > 1
    assert stage_one["memory_of"]["optimiser"] == weights  # a momentum for each
    assert one_round["memory_of"]["prototypes, classifier"] == 4 * 50 * 12
    assert found["disk"]["audio"] == HOURS * 3600 * 32_000
    assert found["disk"]["embeddings"] == 2 * UTTERANCES * 12 * 4
    samples = 16 * (2 * 16_000 + 4 * 8_000) * 2  # of a process's part: int16
    params = 16 * 6 * (8 + 4 + 4 + 8) + 16 * 8  # augmentations, and who it is
    assert found["disk"]["shared_memory"] == 2 * (6 * 2 + 2) * (samples + params)


def test_hours_follow_from_the_rates(plan, tmp_path):
    """Of one GPU at the measured batch, where nothing is sent and both bounds are one."""
    rates = tmp_path / "rates.json"
    stages = {
        "pretrain": {"utterances_per_second": 100.0},
        "round": {"error": "no memory"},
        "extract": {"times_real_time": 50},
        "gate": {"seconds": 1.0},
    }
    rates.write_text(json.dumps({"machine": {"device": "a card"}, "sizes": {"channels": 16, "batch_size": 32}, "stages": stages}))
    status, found, _ = plan("--gpus", "1", *SIZES, "--rates", str(rates), "--json")
    stage_one, extraction = found["hours"]
    assert status == 0 and found["rates"]["card"] == "one a card" and stage_one["measured"]
    steps = 10 * 13  # epochs of 400 utterances in batches of at most 32
    assert stage_one["least"] == stage_one["most"] == pytest.approx(steps * 32 / 100 / 3600)
    inside = 1  # epoch 5 of 10, every 5
    assert extraction["least"] == pytest.approx((2 + inside) * HOURS / 50)
    rates.write_text("{}")
    status, _, messages = plan("--gpus", "1", *SIZES, "--rates", str(rates))
    assert status == 2 and "rates.json" in messages and "training_speed" in messages


def test_batches_are_compared_with_processes(plan):
    status, found, _ = plan("--gpus", "5", *SIZES, "--json")
    assert status == 0 and sum("no multiple of 5" in note and "30 and 35" in note for note in found["notes"]) == 2
    status, text, messages = plan("--gpus", "8", "--nodes", "5", *SIZES)
    assert status == 2 and "It does not fit" in text
    assert len(messages.splitlines()) == 2 and "pretrain.batch_size" in messages and "raise it to 40" in messages


def test_too_little_memory_names_a_batch_that_fits():
    def problems(batch: int, gigabytes: float) -> list[str]:
        experiment = resolve(merged(MINE, {"rounds": 0, "pretrain": {"batch_size": batch}}))
        return memory_problems(footprints(experiment, Machines(2), UTTERANCES), 0, Machines(2), gigabytes)

    experiment = resolve(merged(MINE, {"rounds": 0, "pretrain": {"batch_size": 128}}))
    (whole,) = footprints(experiment, Machines(2), UTTERANCES)
    gigabytes = (1 + 0.7e-9 * whole.memory) / 0.95
    (problem,) = problems(128, gigabytes)
    batch = int(problem.partition("pretrain.batch_size from 128 to ")[2].partition(",")[0])
    assert 64 <= batch < 128 and not problems(batch, gigabytes)


@pytest.mark.parametrize(
    ("options", "changes", "words"),
    [
        (SIZES, {"cluster": {"clusters": 500}}, ("'cluster.clusters' is 500", "lower it to 400")),
        (SIZES, {"encoder": {"chanels": 16}}, ("unknown config key 'encoder.chanels'",)),
        (SIZES, {"train": {"gate": {"gate_start_epoch": 3}}}, ("gate_start_epoch", "margin_full_epoch")),
        ((*SIZES, "--disk-gb", "0.1"), {}, ("GB free", "make room")),
        ((*SIZES, "--shared-memory-gb", "0.0001"), {}, ("shared memory", "runtime.workers")),
        (("--utterances", "1"), {}, ("processes train together", "add recordings")),
        ((*SIZES, "--gpu-memory-gb", "1.06"), {}, ("CA-DINO takes", "extraction takes", "can be used")),
        (SIZES, {"runtime": {"device": "cpu"}}, ("runtime.device",)),
    ],
)
def test_what_would_be_refused_later_is_refused(plan, options, changes, words):
    status, _, messages = plan("--gpus", "4", *options, rounds=0, **changes)
    assert status == 2 and all(word in messages for word in words), messages


def test_sizes_come_from_the_manifest(plan, tmp_path):
    folder = tmp_path / "results" / "mine" / "data" / "train"
    folder.mkdir(parents=True)
    rows = {"num_samples": [160_000] * 90 + [5], "status": ["ok"] * 90 + ["rejected"]}
    write_table(Path(folder / "manifest.parquet"), pd.DataFrame(rows))
    status, found, _ = plan("--gpus", "1", "--json", rounds=0)
    assert status == 0 and found["corpus"] == {"utterances": 90, "hours": pytest.approx(0.25), "packed": True}
    status, text, _ = plan("--gpus", "1", rounds=0)
    assert status == 0 and "90 utterances" in text and text.endswith("It fits.\n")


def test_the_adaptive_recipe_is_known_once_it_has_derived(tmp_path):
    overlay, derived = tmp_path / "mine.yaml", tmp_path / "results/mine/data/train/derived.yaml"
    overlay.write_text("{experiment: mine, recipe: adaptive, corpora: {train: {layout: folder, path: a}}, train: {batch_size: 48}}")
    usual = experiment_of([overlay], tmp_path / "results")
    assert usual.pretrain.batch_size == 256  # of 10,000 utterances
    derived.parent.mkdir(parents=True)
    derived.write_text("{pretrain: {batch_size: 64}, train: {batch_size: 64}}")
    found = experiment_of([overlay], tmp_path / "results")
    assert (found.pretrain.batch_size, found.train.batch_size) == (64, 48)
