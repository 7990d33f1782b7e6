"""Fine-tuning in the workflow: off unless asked for, beside the other systems where it is, and never a way back for labels."""

import shutil
from itertools import pairwise

import pytest

from selfsv.settings.experiment import overlaid, resolve
from selfsv.settings.jobs import CompleteTuneJob, TuneJob
from selfsv.settings.reading import read_file
from tests.benchmarks.command_lines import assert_understood
from tests.workflow.conftest import REPOSITORY, TABLES, Workshop, build

AFTER = {"extract", "cluster", "score", "metrics", "report", "record"}
LABELLED = {"layout": "folder", "path": "labelled/voices"}
FINETUNE = {"corpus": "labelled", "starts": ["random", "iter_0", "iter_2"], "percent": [10, 100]}


def tuning(workshop: Workshop, finetune: dict[str, object] | None = None, **changes: object) -> None:
    """Ask for six systems that are told labels."""
    workshop.configure(corpora={"labelled": LABELLED}, finetune={**FINETUNE, **(finetune or {})}, **changes)


@pytest.fixture(scope="session")
def tuned(tmp_path_factory, server) -> Workshop:
    """A workshop in which both kinds of tuning are done; not to be changed."""
    workshop = build(tmp_path_factory.mktemp("tuned") / "it's done", server)
    tuning(workshop, large_margin={"enabled": True})
    workshop.run()
    return workshop


def calls(workshop: Workshop) -> list[tuple[str, dict[str, str], list[str]]]:
    """Stage, options and all arguments of each call."""
    return [(stage, dict(pairwise(arguments)), arguments) for stage, arguments in workshop.calls()]


def test_scripts_know_the_options_that_their_rules_give(tuned, monkeypatch):
    for stage, _, arguments in calls(tuned):
        assert_understood(f"pipeline.{stage}", arguments, monkeypatch)


def test_without_being_asked_for_it_costs_nothing(finished):
    assert not {"finetune", "large_margin"} & {stage for stage, _, _ in calls(finished)}


def test_systems_are_made_beside_the_others(workshop):
    tuning(workshop)
    plan = workshop.plan()
    data = {"listing": 1, "pack": 2, "manifest": 1}
    assert plan.rules == {
        **data,
        "finetune": 6,
        "extract": 12,
        "cluster": 6,
        "calibrate": 6,
        "score": 6,
        "metrics": 1,
        "report": 1,
        "record": 1,
    }
    assert not {file for file in plan.outputs if file.startswith(("iter_", "baseline_"))}


def test_each_starts_where_its_name_says(tuned):
    found = {options["--model"].split("/")[2]: options for stage, options, _ in calls(tuned) if stage == "finetune"}
    starts = {name: options.get("--start") for name, options in found.items()}
    expected = {"random": None, "iter_0": "results/tiny/iter_0/model.pt", "iter_2": "results/tiny/iter_2/model.pt"}
    assert starts == {f"finetuned_{start}_{percent}": path for start, path in expected.items() for percent in (10, 100)}
    assert {options["--percent"] for name, options in found.items() if name.endswith("_10")} == {"10"}
    for options in found.values():
        assert options["--manifest"] == "results/tiny/data/labelled/manifest.parquet"
        (TuneJob if "--start" in options else CompleteTuneJob).read(str(tuned.folder / options["--settings"]))


def test_labels_go_to_fine_tuning_and_no_further(tuned):
    """No other training is given the file, none but its own is given anything that was tuned on it."""
    knowing = {stage for stage, _, arguments in calls(tuned) if any("speakers" in argument for argument in arguments)}
    assert knowing == {"listing", "metrics", "quality", "finetune"}
    given = [options["--speakers"] for stage, options, _ in calls(tuned) if stage == "finetune"]
    assert set(given) == {"results/tiny/data/labelled/speakers.parquet"}
    for stage, _, arguments in calls(tuned):
        if stage in ("pretrain", "train", "large_margin"):
            assert not [argument for argument in arguments if "finetuned" in argument or "labelled" in argument]


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"epochs": 7}, {"finetune": 6, "extract": 12, "cluster": 6, "calibrate": 6, "score": 6, "metrics": 1, "report": 1, "record": 1}),
        (
            {"percent": [10, 50, 100]},
            {"finetune": 3, "extract": 6, "cluster": 3, "calibrate": 3, "score": 3, "metrics": 1, "report": 1, "record": 1},
        ),
        ({"starts": ["random"]}, {"metrics": 1, "report": 1, "record": 1}),
    ],
    ids=["a setting of the training", "another part", "fewer starts"],
)
def test_a_change_reruns_nothing_of_what_knows_no_labels(tuned, tmp_path, changes, rules):
    workshop = Workshop(shutil.copytree(tuned.folder, tmp_path / tuned.folder.name), tuned.server)
    tuning(workshop, changes, large_margin={"enabled": True})
    plan = workshop.plan()
    assert plan.rules == rules
    assert not {file for file in plan.outputs if file.startswith(("iter_", "baseline_", "large_margin", "data/"))}


def test_a_large_margin_adds_one_system(workshop):
    workshop.configure(large_margin={"enabled": True})
    plan = workshop.plan()
    once = ("large_margin", "cluster", "quality", "calibrate", "extract_parts", "diagnose", "score", "metrics", "report", "record")
    assert plan.rules == {"extract": 2, **dict.fromkeys(once, 1)}
    assert {file.split("/")[0] for file in plan.outputs} == {"large_margin", *TABLES, "report.html", "settings.json"}


def test_a_large_margin_goes_on_from_the_last_round_and_its_labels(tuned):
    [options] = [options for stage, options, _ in calls(tuned) if stage == "large_margin"]
    last = "results/tiny/iter_2"
    assert (options["--start"], options["--labels"]) == (f"{last}/model.pt", f"{last}/pseudo_labels.parquet")
    assert options["--embeddings"] == f"{last}/embeddings/train.parquet"
    TuneJob.read(str(tuned.folder / options["--settings"]))
    [options] = [options for stage, options, _ in calls(tuned) if stage == "diagnose" and "large_margin" in options["--output"]]
    assert options["--previous-labels"] == f"{last}/pseudo_labels.parquet" and "--gate" not in options


@pytest.mark.parametrize(
    ("finetune", "named"),
    [
        ({"starts": ["iter_3"]}, "finetune.starts: there is no 'iter_3' with rounds: 2"),
        ({"starts": ["iter_x"]}, "finetune.starts.0"),
        ({"corpus": None}, "finetune.corpus '' is not one of the corpora"),
        ({"corpus": "elsewhere"}, "finetune.corpus 'elsewhere' is not one of the corpora"),
        ({"corpus": "test"}, "finetune.corpus 'test' is what trials.some draws on"),
        ({"percent": [0]}, "finetune.percent.0"),
        ({"percent": [110]}, "finetune.percent.0"),
    ],
)
def test_what_cannot_be_is_refused_by_name(fresh, finetune, named):
    tuning(fresh, finetune)
    done = fresh.snakemake("--dry-run", "--configfile", "overlay.yaml")
    assert done.status == 1
    assert named in done.told
    assert "Traceback" not in done.told


@pytest.mark.parametrize(("overlay", "tuned"), [(None, False), ("demo/config.yaml", False), ("systems/strong.yaml", True)])
def test_only_the_later_recipe_tunes_its_last_round(overlay, tuned):
    changes = read_file(REPOSITORY / overlay) if overlay else {}
    experiment = resolve(overlaid(read_file(REPOSITORY / "config.yaml"), changes))
    assert (experiment.large_margin.enabled, experiment.train.average_last > 1, experiment.finetune.starts) == (tuned, tuned, ())
