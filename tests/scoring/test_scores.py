"""Cosine and adaptive s-norm against scikit-learn and a loop over the trials; the stage on files."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from selfsv.artifacts import write_embeddings
from selfsv.cluster_means import cluster_means
from selfsv.scoring.cosine import cosine_scores, unit_length
from selfsv.scoring.snorm import cohort_statistics, normalised_scores

UTTERANCES, TRIALS, DIMENSIONS, COHORT = 40, 200, 16, 30


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def naive_snorm(enroll: np.ndarray, test: np.ndarray, cohort: np.ndarray, top: int) -> float:
    """Adaptive s-norm of one trial: mean of z- and t-norm, each over the `top` nearest of the cohort."""

    def cosine(one: np.ndarray, other: np.ndarray) -> float:
        return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))

    score, parts = cosine(enroll, test), []
    for side in (enroll, test):
        nearest = sorted((cosine(side, member) for member in cohort), reverse=True)[:top]
        mean = sum(nearest) / len(nearest)
        deviation = (sum((value - mean) ** 2 for value in nearest) / len(nearest)) ** 0.5
        parts.append((score - mean) / deviation)
    return sum(parts) / 2


@pytest.mark.parametrize("subtract_mean", [False, True])
def test_cosine_is_scikit_learns(rng, subtract_mean):
    embeddings = rng.normal(1.0, 1, (UTTERANCES, DIMENSIONS)).astype(np.float32)
    mean = embeddings.mean(axis=0) if subtract_mean else None
    enroll, test = rng.integers(UTTERANCES, size=(2, TRIALS))
    expected = cosine_similarity(embeddings - (0 if mean is None else mean))[enroll, test]
    np.testing.assert_allclose(cosine_scores(unit_length(embeddings, mean), enroll, test), expected, atol=1e-5)


@pytest.mark.parametrize("top", [1 + 1, 10, COHORT, 300])
def test_snorm_is_the_naive_loop(rng, top, caplog):
    embeddings = rng.normal(size=(UTTERANCES, DIMENSIONS)).astype(np.float32)
    cohort = rng.normal(size=(COHORT, DIMENSIONS)).astype(np.float32)
    enroll, test = rng.integers(UTTERANCES, size=(2, TRIALS))
    units = unit_length(embeddings)
    with caplog.at_level(logging.WARNING):
        statistics = cohort_statistics(units, unit_length(cohort), top)
    assert ("fewer than the top 300" in caplog.text) == (top == 300)
    scores = normalised_scores(cosine_scores(units, enroll, test), enroll, test, *statistics)
    expected = [naive_snorm(embeddings[one], embeddings[other], cohort, top) for one, other in zip(enroll, test, strict=True)]
    np.testing.assert_allclose(scores, expected, rtol=2e-3, atol=2e-3)


def test_cohort_is_the_mean_of_each_cluster(rng):
    embeddings, labels = rng.normal(size=(50, 4)), rng.integers(5, size=50) * 3
    expected = pd.DataFrame(embeddings).groupby(labels).mean().to_numpy()
    np.testing.assert_allclose(cluster_means(embeddings.astype(np.float32), labels), expected, atol=1e-6)


def run_stage(folder: Path, trials: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "trials.txt").write_text(trials)
    files = {"trials": "trials.txt", "embeddings": "test.parquet", "train-embeddings": "train.parquet", "pseudo-labels": "labels.parquet"}
    arguments = [part for name, file in files.items() for part in (f"--{name}", str(folder / file))]
    command = [
        sys.executable,
        "-m",
        "pipeline.score",
        "--settings",
        '{"cohort_top": 5}',
        *arguments,
        "--output",
        str(folder / "scores.parquet"),
    ]
    return subprocess.run([*command, *options], capture_output=True, text=True, cwd=Path(__file__).parents[2])


@pytest.fixture
def folder(rng, tmp_path) -> Path:
    train, test = rng.normal(size=(60, 8)), rng.normal(size=(6, 8))
    names = np.array([f"t{i // 6}/s/{i}" for i in range(60)])
    write_embeddings(tmp_path / "train.parquet", names, train)
    pd.DataFrame({"utterance": names[::-1], "label": np.arange(60)[::-1] // 6}).to_parquet(tmp_path / "labels.parquet")
    write_embeddings(tmp_path / "test.parquet", np.array([f"id1/s/{i}" for i in range(6)]), test)
    return tmp_path


def test_the_stage_scores_a_list_whatever_the_order_of_the_labels(folder):
    done = run_stage(folder, "1 id1/s/0.wav id1/s/1.wav\n0 id1/s/2.wav id1/s/5.wav\n")
    assert done.returncode == 0, done.stderr
    scores = pd.read_parquet(folder / "scores.parquet")
    assert list(scores["enroll"]) == ["id1/s/0", "id1/s/2"] and list(scores["target"]) == [True, False]
    test = np.stack(pd.read_parquet(folder / "test.parquet")["embedding"])
    train = np.stack(pd.read_parquet(folder / "train.parquet")["embedding"])
    cohort = train.reshape(10, 6, 8).mean(axis=1)
    expected = [naive_snorm(test[0], test[1], cohort, 5), naive_snorm(test[2], test[5], cohort, 5)]
    np.testing.assert_allclose(scores["snorm"], expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        ("1 id1/s/0 id1/s/1\n0 id1/s/0 id1/s/9.wav\n", "line 2: utterance 'id1/s/9.wav' has no embedding"),
        ("1 id1/s/0\n", "line 1: 2 words instead of 3"),
        ("1 id1/s/0 id1/s/1\n\ntarget id1/s/0 id1/s/1\n", "line 3: the label is 'target'"),
        ("\n\n", "holds no trials"),
    ],
)
def test_a_bad_list_is_one_clear_error(folder, trials, message):
    done = run_stage(folder, trials)
    assert done.returncode == 1 and message in done.stderr
    assert "Traceback" not in done.stderr and not (folder / "scores.parquet").exists()


def test_repeats_are_counted_in_the_log(folder):
    done = run_stage(folder, "1 id1/s/0.wav id1/s/1.wav\n1 id1/s/0 id1/s/1\n0 id1/s/2.wav id1/s/2.wav\n")
    assert done.returncode == 0 and "1 of 3 trials repeat an earlier one" in done.stderr
    assert "1 of 3 trials compare an utterance with itself" in done.stderr and "both labels" not in done.stderr


def test_a_trial_of_a_rejected_utterance_says_why(folder):
    rows = {"utterance": ["id1/s/9"], "status": ["rejected"], "reason": ["truncated: 3 of 8 s"]}
    pd.DataFrame(rows).to_parquet(folder / "manifest.parquet")
    done = run_stage(folder, "0 id1/s/0.wav id1/s/9.wav\n", "--manifest", str(folder / "manifest.parquet"))
    assert done.returncode == 1 and "rejected from the corpus: truncated: 3 of 8 s" in done.stderr
