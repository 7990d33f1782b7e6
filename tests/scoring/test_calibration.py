"""Calibration without labels: closed forms, held-out clusters, and what a file may hold."""

import numpy as np
import pandas as pd
import pytest

from selfsv.errors import InputError
from selfsv.scoring.calibration import Calibration, Rated, calibration_of, read_calibration
from selfsv.scoring.calibration_fit import calibration_table, fitted, held_out
from selfsv.scoring.cluster_trials import ClusterTrials
from selfsv.scoring.likelihood_ratios import cllr, min_cllr


def gaussian(targets: int, nontargets: int, seed: int = 0) -> tuple[Rated, np.ndarray]:
    """Scores of two normal distributions of one variance, whose log-likelihood ratio is known; quality measures that say nothing."""
    draw = np.random.default_rng(seed)
    target = np.arange(targets + nontargets) < targets
    scores = draw.normal(np.where(target, 0.6, 0.2), 0.15)
    return Rated(scores, draw.uniform(2, 15, len(scores)), draw.normal(0.3, 0.05, len(scores))), target


def true_llr(scores: np.ndarray) -> np.ndarray:
    """Of `gaussian`: (m1 - m0) / v (x - (m0 + m1) / 2)."""
    return (0.6 - 0.2) / 0.15**2 * (scores - 0.4)


@pytest.mark.parametrize(("targets", "nontargets"), [(20_000, 20_000), (2_000, 60_000)])
@pytest.mark.parametrize("quality", [False, True])
def test_normal_scores_get_their_likelihood_ratios_whatever_the_share_of_targets(targets, nontargets, quality):
    rated, target = gaussian(targets, nontargets)
    found = fitted(rated, target, "cosine", quality=quality)
    assert found.score_weight == pytest.approx(0.4 / 0.15**2, rel=0.08)
    middle = np.abs(rated.scores - 0.4) < 0.3
    assert found.llr(rated)[middle] == pytest.approx(true_llr(rated.scores)[middle], abs=0.5)


def test_quality_measures_count_where_they_tell_something():
    """Short recordings have lower scores: what is lost there is given back, and long ones gain no more beyond 20 s."""
    draw = np.random.default_rng(1)
    rated, target = gaussian(20_000, 20_000)
    seconds = draw.uniform(1, 60, len(target))
    lost = 0.2 * np.log(np.minimum(seconds, 20))
    shifted = Rated(rated.scores + lost, seconds, rated.cohort_means)
    found = fitted(shifted, target, "cosine", quality=True)
    assert found.duration_weight == pytest.approx(-0.2 * found.score_weight, rel=0.05)
    plain = fitted(shifted, target, "cosine", quality=False)
    assert cllr(found.llr(shifted), target) < cllr(plain.llr(shifted), target) - 0.05
    assert cllr(found.llr(shifted), target) == pytest.approx(cllr(true_llr(rated.scores), target), abs=0.005)


def test_scores_that_never_err_have_finite_ratios():
    target = np.arange(100) < 50
    found = fitted(Rated(np.where(target, 1.0, 0.0), np.ones(100), np.zeros(100)), target, "cosine", quality=True)
    assert np.isfinite(found[1:-1]).all() and found.score_weight > 0


@pytest.mark.parametrize("only", [True, False])
def test_one_kind_of_trials_is_no_calibration(only):
    rated, _ = gaussian(10, 10)
    with pytest.raises(InputError, match="trials of both kinds"):
        fitted(rated, np.full(20, only), "cosine", quality=False)


def clustered(rated: Rated, target: np.ndarray, seed: int = 0) -> ClusterTrials:
    """As if the trials were of 40 clusters."""
    draw = np.random.default_rng(seed)
    one = draw.integers(0, 40, len(target))
    other = np.where(target, one, (one + draw.integers(1, 40, len(target))) % 40)
    rows = np.arange(len(target))
    return ClusterTrials(rows, rows, target, np.stack([one, other], axis=1), "")


def test_held_out_clusters_are_rated_by_what_the_others_taught():
    rated, target = gaussian(3000, 3000)
    trials = clustered(rated, target)
    cost, least = held_out(rated, trials, "cosine", quality=False, seed=3)
    half = np.random.default_rng(3).permutation(40) % 2
    inside = [np.array([half[one] == half[other] == part for one, other in trials.clusters]) for part in (0, 1)]
    assert not (inside[0] & inside[1]).any() and (~(inside[0] | inside[1]))[~target].any()
    ratios = np.full(len(target), np.nan)
    for part, other in (inside, inside[::-1]):
        ratios[part] = fitted(rated.only(other), target[other], "cosine", quality=False).llr(rated.only(part))
    used = inside[0] | inside[1]
    assert cost == pytest.approx(cllr(ratios[used], target[used]), rel=1e-12)
    assert least == pytest.approx(min_cllr(ratios[used], target[used]), rel=1e-12)
    assert cost == pytest.approx(cllr(true_llr(rated.scores), target), abs=0.02)


def test_the_table_has_what_is_used_and_what_else_there_is(tmp_path):
    rated, target = gaussian(3000, 3000)
    trials = clustered(rated, target)
    backwards = rated._replace(scores=-rated.scores)
    table = calibration_table({"cosine": backwards, "snorm": rated}, trials, ("snorm", True), seed=1)
    table.to_parquet(tmp_path / "calibration.parquet")
    assert table[["norm", "quality", "chosen"]].to_numpy().tolist() == [
        ["cosine", False, False],
        ["cosine", True, False],
        ["snorm", False, False],
        ["snorm", True, True],
    ]
    assert (table["targets"] == 3000).all() and (table["clusters"] == 40).all()
    assert table["doubts"].map(lambda said: "do not speak" in said).tolist() == [True, True, False, False]
    found = read_calibration(tmp_path / "calibration.parquet")
    assert found == fitted(rated, target, "snorm", quality=True)


def test_a_calibration_that_fails_on_other_clusters_says_so():
    """Half of the clusters have scores of another scale."""
    rated, target = gaussian(3000, 3000)
    trials = clustered(rated, target)
    half = np.random.default_rng(1).permutation(40) % 2
    scores = np.where(half[trials.clusters[:, 0]] == 1, 40 * rated.scores - 20, rated.scores)
    table = calibration_table({"cosine": rated._replace(scores=scores)}, trials, ("cosine", False), seed=1)
    assert "above its least value" in table["doubts"][0]


def test_one_cluster_gives_ratios_that_say_nothing():
    rated, _ = gaussian(50, 50)
    rows = np.arange(100)
    trials = ClusterTrials(rows, rows, np.ones(100, bool), np.zeros((100, 2), np.int64), "there are 1 clusters")
    table = calibration_table({"cosine": rated}, trials, ("cosine", False), seed=1)
    assert calibration_of(table.loc[0, list(Calibration._fields)].to_dict()).llr(rated).tolist() == [0.0] * 100
    assert table["doubts"].str.contains("there are 1 clusters; higher scores do not speak").all()


def values(**changes: object) -> dict[str, object]:
    return {**Calibration("snorm", -1.0, 2.0)._asdict(), **changes}


@pytest.mark.parametrize(
    "damage", [{"norm": "z-norm"}, {"offset": float("nan")}, {"score_weight": "much"}, {"more": 1}, {"cohort_weight": None}]
)
def test_what_is_no_calibration_is_refused(damage):
    with pytest.raises(ValueError):
        calibration_of(values(**damage))


@pytest.mark.parametrize("chosen", [[], [True, True], [False]])
def test_a_file_has_one_chosen_calibration(chosen, tmp_path):
    path = tmp_path / "calibration.parquet"
    pd.DataFrame([values(chosen=each) for each in chosen], columns=[*values(), "chosen"]).astype({"chosen": bool}).to_parquet(path)
    with pytest.raises(InputError, match=r"calibration\.parquet holds no calibration.*stage `calibrate`"):
        read_calibration(path)
