"""Trials that need no speaker label: targets share a recording or a session, non-targets come from different sessions.

Both sides of a target share the channel, too, so their error rates are lower than those of real trials. Two sessions may be of one
speaker, which makes a few non-targets wrong: with S speakers of equally many recordings, one in S.
"""

from typing import NamedTuple

import numpy as np

from selfsv.scoring.error_rates import equal_error_rate, operating_points
from selfsv.scoring.scored_trials import score_members


class PseudoTrials(NamedTuple):
    """T pairs of utterances, by their positions."""

    enroll: np.ndarray  # [T] int64
    test: np.ndarray  # [T] int64
    target: np.ndarray  # [T] bool


def part_trials(sessions: np.ndarray, count: int, rng: np.random.Generator) -> PseudoTrials:
    """First parts of recordings against last parts; position i is the first part of recording i, M + i its last part.

    Args:
        sessions: [M] the session of each recording, from 0. Where all are one session, any other recording is a non-target.
        count: of non-targets, at most.
    """
    recordings = np.arange(len(sessions))
    other = different_group(sessions if len(np.unique(sessions)) > 1 else recordings, count, rng)
    enroll, test = np.concatenate([recordings, other[:, 0]]), np.concatenate([recordings, other[:, 1]])
    return PseudoTrials(enroll, test + len(sessions), np.arange(len(enroll)) < len(sessions))


def session_trials(sessions: np.ndarray, count: int, rng: np.random.Generator) -> PseudoTrials:
    """Two recordings of one session as targets, of two sessions as non-targets.

    Args:
        sessions: [N] the session of each recording, from 0.
        count: of targets, and of non-targets, at most.
    """
    same, other = same_group(sessions, count, rng), different_group(sessions, count, rng)
    pairs = np.concatenate([same, other])
    return PseudoTrials(pairs[:, 0], pairs[:, 1], np.arange(len(pairs)) < len(same))


def same_group(groups: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """[P, 2] different pairs of different members of one group, P <= `count`; an item is as likely as any other to be drawn."""
    order, first, size = _places(groups)
    places = rng.choice(np.flatnonzero(size > 1), count) if (size > 1).any() else np.empty(0, np.int64)
    step = rng.integers(1, np.maximum(size[places], 2))  # never 0: an item is not its own partner
    partners = first[places] + (places - first[places] + step) % size[places]
    return _without_repeats(order[places], order[partners])


def different_group(groups: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """[P, 2] different pairs of members of two groups, P <= `count`."""
    order, first, size = _places(groups)
    partnered = np.flatnonzero(size < len(groups))
    places = rng.choice(partnered, count) if len(partnered) else np.empty(0, np.int64)
    # Counted on from the end of the item's own group, around the end of the list.
    others = len(groups) - size[places]
    partners = (first[places] + size[places] + rng.integers(0, np.maximum(others, 1))) % max(len(groups), 1)
    return _without_repeats(order[places], order[partners])


def _places(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The items in the order of their groups, [N]; where the group of each place begins, and how large it is, [N] each."""
    order = np.argsort(groups, kind="stable")
    _, first, number, size = np.unique(groups[order], return_index=True, return_inverse=True, return_counts=True)
    return order, first[number], size[number]


def _without_repeats(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """[P, 2] pairs, each once, whichever side comes first."""
    return np.unique(np.sort(np.stack([one, other], axis=1), axis=1), axis=0)


def pseudo_error_rates(
    trials: PseudoTrials, directions: np.ndarray, clusters: np.ndarray, cohort: np.ndarray, top: int
) -> tuple[float, float]:
    """The EER by cosine and with adaptive s-norm, as fractions; NaN where there are no targets or no non-targets.

    A test speaker is in no cluster of the cohort, so an utterance's own cluster does not count, either.

    Args:
        directions: [U, D] embeddings of length 1, which the trials' positions are of.
        clusters: [U] the place in the cohort of each one's cluster.
        cohort: [C, D] means of pseudo clusters, of length 1.
        top: how many nearest cohort members normalise a score; all others where the cohort is smaller.
    """
    if trials.target.all() or not trials.target.any():
        return float("nan"), float("nan")
    scores = score_members(directions, clusters, trials.enroll, trials.test, cohort, min(top, len(cohort) - 1))
    by_cosine, by_snorm = (equal_error_rate(*operating_points(values, trials.target)) for values in (scores.cosine, scores.snorm))
    return by_cosine, by_snorm
