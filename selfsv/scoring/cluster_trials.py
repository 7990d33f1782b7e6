"""Trials that need no labels: pairs of training recordings, called the same speaker where their sessions share a pseudo cluster.

k-means assigns each recording by the very embedding that is scored. Pairs of one such cluster are alike by construction, pairs of
two are not, and what is fitted to them is far too sure of itself. So a whole session gets the cluster that most of its recordings
have: which recordings of it make a trial no longer depends on their own embeddings. docs/calibration.md has what this brings.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

ATTEMPTS = 20  # to draw enough pairs
FEWEST_CLUSTERS, FEWEST_TARGETS = 30, 500  # with fewer, what is fitted to the trials is not to be trusted
SPANNING = 0.5  # of the clusters must have two sessions, or what joins sessions may well be clustering errors


class ClusterTrials(NamedTuple):
    """N pairs of training recordings."""

    first: np.ndarray  # [N] positions in the corpus
    second: np.ndarray  # [N]
    target: np.ndarray  # [N] bool: both sessions of one cluster
    clusters: np.ndarray  # [N, 2] of both sides' sessions
    doubts: str  # why what is fitted to them is not to be trusted; empty: nothing speaks against it


def cluster_trials(labels: np.ndarray, sessions: np.ndarray, count: int, seed: int) -> ClusterTrials:
    """At most `count` targets and as many non-targets, without repetition.

    Every cluster is drawn equally often: one that swallowed many talkers must not speak for all. Both recordings of a trial are of
    different sessions where half of the clusters or more have two sessions.

    Args:
        labels: [U] pseudo clusters of a corpus's recordings.
        sessions: [U] names; where all are the same, sessions are not known, and each recording counts as one.
        count: how many of each kind are wanted.

    Returns:
        Fewer where the corpus has no more; none of a kind that it has no pair of.
    """
    known = len(np.unique(sessions)) > 1
    codes = pd.factorize(sessions)[0] if known else np.arange(len(labels))
    clusters = pd.factorize(of_sessions(labels, codes), sort=True)[0]
    spanning = float((pd.DataFrame({"cluster": clusters, "session": codes}).groupby("cluster")["session"].nunique() > 1).mean())
    apart = codes if spanning >= SPANNING else np.arange(len(labels))
    draw = np.random.default_rng(seed)
    targets, nontargets = (_pairs(clusters, apart, count, draw, same=same) for same in (True, False))
    pairs = np.concatenate([targets, nontargets])
    said = doubts(len(targets), len(np.unique(clusters[targets])), known, spanning)
    return ClusterTrials(pairs[:, 0], pairs[:, 1], np.arange(len(pairs)) < len(targets), clusters[pairs], said)


def of_sessions(labels: np.ndarray, sessions: np.ndarray) -> np.ndarray:
    """[U] The most frequent label of each recording's session; of several the least."""
    table = pd.DataFrame({"label": labels, "session": sessions})
    counts = table.value_counts().reset_index().sort_values(["count", "label"], ascending=[False, True])
    majority = counts.drop_duplicates("session").set_index("session")["label"]
    return majority.loc[sessions].to_numpy()


def doubts(targets: int, clusters: int, sessions_known: bool, spanning: float) -> str:
    """Why trials with `targets` targets of `clusters` clusters are doubtful, in words.

    Args:
        spanning: the share of clusters with several sessions.
    """
    found = []
    if not sessions_known:
        found.append("the sessions of the training recordings are not known, which makes it far too sure")
    elif spanning < SPANNING:
        found.append(f"only {100 * spanning:.0f} % of the clusters have two sessions, so that most pairs share a session")
    if clusters < FEWEST_CLUSTERS:
        found.append(f"there are {clusters} clusters, fewer than {FEWEST_CLUSTERS}")
    if targets < FEWEST_TARGETS:
        found.append(f"there are {targets:,} pairs of one cluster, fewer than {FEWEST_TARGETS}")
    return "; ".join(found)


def _pairs(clusters: np.ndarray, apart: np.ndarray, count: int, draw: np.random.Generator, *, same: bool) -> np.ndarray:
    """[N, 2] positions of recordings whose `apart` differ, of one cluster or of two."""
    order = np.argsort(clusters, kind="stable")
    starts, sizes = np.unique(clusters[order], return_index=True, return_counts=True)[1:]

    def any_of(chosen: np.ndarray) -> np.ndarray:
        return order[starts[chosen] + draw.integers(sizes[chosen])]

    eligible = np.flatnonzero(sizes > 1) if same else np.arange(len(sizes) if len(sizes) > 1 else 0)
    found = np.empty((0, 2), np.int64)
    for _ in range(ATTEMPTS if len(eligible) else 0):
        one = draw.choice(eligible, count)
        other = one if same else (one + draw.integers(1, len(sizes), count)) % len(sizes)
        pairs = np.sort(np.stack([any_of(one), any_of(other)], axis=1), axis=1)
        pairs = np.concatenate([found, pairs[apart[pairs[:, 0]] != apart[pairs[:, 1]]]])
        found = pairs[np.sort(np.unique(pairs, axis=0, return_index=True)[1])]  # the first of each, in the order drawn
        if len(found) >= count:
            break
    return found[:count]
