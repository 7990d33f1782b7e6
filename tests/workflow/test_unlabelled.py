"""Quality without labels: made for every iteration, from nothing that knows speakers, and read by nothing but the report."""

import re
from itertools import pairwise

import pytest

from workflow.imports import source_files

MADE = ("diagnosis.parquet", "part_embeddings.parquet")


@pytest.fixture(scope="module")
def readers(finished) -> dict[str, set[str]]:
    """By file name, the rules that have such a file among their inputs, named or not."""
    done = finished.snakemake("--dry-run", "--forceall", "--configfile", "overlay.yaml")
    assert done.status == 0, done.told
    blocks = re.findall(r"^(?:local)?rule (\w+):\n((?: +.*\n)*)", done.told, re.MULTILINE)
    found: dict[str, set[str]] = {}
    for rule, block in blocks:
        for line in re.findall(r"^ +input: (.*)", block, re.MULTILINE):
            for file in line.split(", "):
                found.setdefault(file.rpartition("/")[2], set()).add(rule)
    return found


def test_nothing_but_the_report_reads_it(readers):
    assert readers["pseudo_labels.parquet"] >= {"train", "diagnose"}  # the inputs were understood
    assert readers["diagnosis.parquet"] == {"report"} and readers["part_embeddings.parquet"] == {"diagnose"}


def test_it_reads_neither_speakers_nor_trials(readers):
    for file in ("speakers.parquet", "the trials.txt", "some.parquet", "metrics.parquet", "cluster_quality.parquet"):
        assert readers[file] and not readers[file] & {"extract_parts", "diagnose"}


def test_no_other_stage_consists_of_its_code():
    for stage in ("pretrain", "train", "train_av", "large_margin", "finetune", "extract", "cluster", "score", "metrics"):
        assert not [file for file in source_files(f"pipeline.{stage}") if file.parent.name == "diagnosis"]


def test_every_iteration_is_diagnosed_against_the_round_before(finished):
    calls = [dict(pairwise(words)) for stage, words in finished.calls() if stage == "diagnose"]
    results = "results/tiny"
    assert {call["--output"] for call in calls} == {f"{results}/iter_{i}/diagnosis.parquet" for i in range(3)}
    before = {call["--output"].split("/")[2]: (call.get("--previous-labels"), call.get("--gate")) for call in calls}
    assert before == {
        "iter_0": (None, None),
        "iter_1": (f"{results}/iter_0/pseudo_labels.parquet", f"{results}/iter_1/gate.parquet"),
        "iter_2": (f"{results}/iter_1/pseudo_labels.parquet", f"{results}/iter_2/gate.parquet"),
    }
