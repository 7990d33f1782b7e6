"""Calibrations fitted without a speaker label, to pairs of training recordings that are told apart by their clusters (`cluster_trials`).

The weights are those of a logistic regression in which both kinds of trials count alike (Brummer and du Preez 2006), so that its
log-odds are log-likelihood ratios.
"""

from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from selfsv.errors import InputError
from selfsv.scoring.calibration import Calibration, Rated
from selfsv.scoring.cluster_trials import ClusterTrials
from selfsv.scoring.likelihood_ratios import cllr, min_cllr

GREATEST_LOSS = 0.1  # bits of Cllr above its least value, on clusters that the calibration was not fitted to


def fitted(trials: Rated, target: np.ndarray, norm: str, *, quality: bool) -> Calibration:
    """Logistic regression on N trials, with both kinds weighted alike.

    Raises:
        InputError: there are only targets or only non-targets.
    """
    if target.all() or not target.any():
        raise InputError("calibration needs trials of both kinds: there are only " + ("targets" if target.any() else "non-targets"))
    features = trials.features(quality)
    centre, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)  # a measure that never varies says nothing
    # Nearly no penalty: it keeps the weights finite where no score is on the wrong side.
    model = LogisticRegression(C=1e4, class_weight="balanced").fit((features - centre) / scale, target)
    weights = model.coef_[0] / scale
    offset = float(model.intercept_[0] - weights @ centre)
    score, duration, cohort = (*map(float, weights), 0.0, 0.0)[:3]
    return Calibration(norm, offset, score, duration, cohort)


def held_out(rated: Rated, trials: ClusterTrials, norm: str, *, quality: bool, seed: int) -> tuple[float, float]:
    """Cllr and minCllr of trials among clusters that the calibration was not fitted to.

    The clusters are divided in two at random. What one half teaches is tried on the other's trials.

    Returns:
        Bits; NaN where a half has not both kinds of trials.
    """
    names = np.unique(trials.clusters)
    half = np.random.default_rng(seed).permutation(len(names)) % 2
    sides, target = half[np.searchsorted(names, trials.clusters)], trials.target
    parts = [(sides == number).all(axis=1) for number in (0, 1)]
    if any(target[part].all() or not target[part].any() for part in parts):
        return float("nan"), float("nan")
    ratios = np.concatenate(
        [
            fitted(rated.only(other), target[other], norm, quality=quality).llr(rated.only(part))
            for part, other in zip(parts, reversed(parts), strict=True)
        ]
    )
    truth = np.concatenate([target[part] for part in parts])
    return cllr(ratios, truth), min_cllr(ratios, truth)


def calibration_table(rated: Mapping[str, Rated], trials: ClusterTrials, chosen: tuple[str, bool], seed: int) -> pd.DataFrame:
    """A row per norm, without and with quality measures: columns as in `Calibration`, and how well it does.

    Args:
        rated: the trials by norm.
        chosen: norm and quality of the calibration that is used.
        seed: of how clusters are divided.

    Where there are only targets or only non-targets, as in one cluster, nothing can be fitted: every ratio is 0, which says nothing.
    """
    rows = []
    targets = int(trials.target.sum())
    counts = {"targets": targets, "nontargets": len(trials.target) - targets, "clusters": len(np.unique(trials.clusters[trials.target]))}
    for norm, quality in product(rated, (False, True)):
        if 0 < targets < len(trials.target):
            found = fitted(rated[norm], trials.target, norm, quality=quality)
            cost, least = held_out(rated[norm], trials, norm, quality=quality, seed=seed)
        else:
            found, cost, least = Calibration(norm, 0.0, 0.0), 1.0, float("nan")
        said = "; ".join(filter(None, [trials.doubts, doubts(found.score_weight, cost - least)]))
        row = {**found._asdict(), "doubts": said, "quality": quality, "chosen": (norm, quality) == chosen}
        rows.append({**row, **counts, "cllr": cost, "min_cllr": least})
    return pd.DataFrame(rows)


def doubts(score_weight: float, loss: float) -> str:
    """Reasons to doubt a calibration that do not depend on its trials; empty where there are none.

    Args:
        loss: Cllr less minCllr on clusters that it was not fitted to, bits.
    """
    found = []
    if score_weight <= 0:
        found.append("higher scores do not speak for the same cluster")
    if not loss <= GREATEST_LOSS:
        found.append(f"on clusters that it was not fitted to, Cllr is {loss:.2f} bits above its least value")
    return "; ".join(found)
