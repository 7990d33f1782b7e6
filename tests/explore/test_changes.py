"""Clusters matched with those before, what moved, and what the gate distrusts: against permutations and plain loops."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from selfsv.artifacts import write_table
from selfsv.explore.changes import NO_COUNTERPART, changed, clusters, distrusted, matched
from selfsv.explore.iteration import read_iteration


def test_renumbered_clusters_are_found_again():
    rng = np.random.default_rng(1)
    before, renumbered = rng.integers(30, size=2000), rng.permutation(30)
    labels = renumbered[before]
    moved = rng.choice(2000, 300, replace=False)
    labels[moved] = rng.integers(30, size=300)
    np.testing.assert_array_equal(matched(labels, before), renumbered)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_assignment_keeps_more_together(seed):
    labels, before = np.random.default_rng(seed).integers(5, size=(2, 60))
    kept = max(sum(order[b] == label for b, label in zip(before, labels, strict=True)) for order in permutations(range(5)))
    assert (matched(labels, before)[before] == labels).sum() == kept


def test_a_cluster_that_is_gone_has_no_counterpart():
    labels, before = np.array([0, 0, 0, 1, 1, 0]), np.array([2, 2, 2, 0, 0, 1])
    assert matched(labels, before).tolist() == [1, NO_COUNTERPART, 0]
    # Every cluster is assigned one, but 1 and its own share nothing.
    assert matched(np.array([0, 0, 0, 1, 0]), np.array([0, 0, 0, 0, 1])).tolist() == [0, NO_COUNTERPART]


def test_those_that_moved_are_listed_and_no_others(experiment):
    iteration = read_iteration(experiment, 1)
    renumbered = np.array([3, 1, 0, 2])
    before = renumbered[iteration.labels]
    movers = [4, 9, 17]
    before[movers] = (before[movers] + 1) % 4
    before[30] = -1  # it was not there before
    table = changed(replace(iteration, labels_before=before))
    assert table is not None and sorted(table["row"]) == movers
    now = {old: new for new, old in enumerate(renumbered)}
    assert table["came_from"].tolist() == [now[before[row]] for row in table["row"]]
    assert np.all(np.diff(iteration.similarity[table["row"]]) <= 0)


def test_iterations_with_nothing_in_common_have_no_changes(experiment):
    iteration = read_iteration(experiment, 1)
    table = changed(replace(iteration, labels_before=np.full(len(iteration), -1)))
    assert table is not None and table.empty


def test_what_the_gate_distrusts_is_in_the_order_of_the_losses(experiment):
    table = distrusted(read_iteration(experiment, 1))
    losses = pd.read_parquet(experiment / "iter_1" / "losses.parquet")
    expected = [row for row in losses.itertuples() if row.decision in ("corrected", "dropped")]
    expected.sort(key=lambda row: -row.loss_clean)
    assert table is not None and len(expected) > 5
    assert [f"voice {row:02d}" for row in table["row"]] == [row.utterance for row in expected]
    assert table["decision"].tolist() == [row.decision for row in expected]


def test_the_first_iteration_has_neither_list(experiment):
    iteration = read_iteration(experiment, 0)
    assert changed(iteration) is None and distrusted(iteration) is None and iteration.threshold is None


def test_clusters_are_counted_as_by_hand(experiment):
    iteration = read_iteration(experiment)
    assert iteration.number == 1 and iteration.threshold == 3.25
    table = clusters(iteration)
    for row in table.rename(columns={"size": "number"}).itertuples():
        own = [index for index, label in enumerate(iteration.labels) if label == row.label]
        assert row.number == len(own) and row.sessions == len({iteration.sessions[index] for index in own})
        assert row.tightness == pytest.approx(sum(float(iteration.similarity[index]) for index in own) / len(own), rel=1e-5)
    assert table["size"].sum() == 40 and table["size"].is_monotonic_decreasing


def test_rows_in_another_order_are_the_same_iteration(experiment):
    expected = read_iteration(experiment)
    for name in ("iter_0/pseudo_labels", "iter_1/pseudo_labels", "data/train/manifest"):
        table = pd.read_parquet(experiment / f"{name}.parquet")
        write_table(experiment / f"{name}.parquet", table.sample(frac=1, random_state=2))
    again = read_iteration(experiment)
    for name in ("utterances", "labels", "similarity", "sessions", "labels_before"):
        np.testing.assert_array_equal(getattr(again, name), getattr(expected, name))
