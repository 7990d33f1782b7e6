"""Changes between iterations: clusters matched with those before, utterances that moved, and labels that the gate distrusts."""

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix

from selfsv.explore.iteration import Iteration
from selfsv.losses.label_correction import DECISIONS, RELIABLE

NO_COUNTERPART = -1


def matched(labels: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The cluster that each cluster of the iteration before became: the assignment that keeps the most utterances together.

    Args:
        labels: [N] int64 clusters now, from 0.
        before: [N] int64 clusters before, from 0, of the same utterances.

    Returns:
        [K] int64 the present cluster of each cluster before; NO_COUNTERPART for one that shares no utterance with its own.
    """
    old, new = np.unique(before), np.unique(labels)
    shared = contingency_matrix(before, labels)
    rows, columns = linear_sum_assignment(shared, maximize=True)
    rows, columns = rows[shared[rows, columns] > 0], columns[shared[rows, columns] > 0]  # what is left over is assigned, too
    counterpart = np.full(int(before.max(initial=-1)) + 1, NO_COUNTERPART, np.int64)
    counterpart[old[rows]] = new[columns]
    return counterpart


def changed(iteration: Iteration) -> pd.DataFrame | None:
    """Utterances that left the counterpart of their cluster before, the surest in their new cluster first.

    Returns:
        `row` of the iteration, `came_from` (the present number of the cluster before, or NO_COUNTERPART); None without an
        iteration before.
    """
    before = iteration.labels_before
    if before is None:
        return None
    known = np.flatnonzero(before >= 0)
    came_from = matched(iteration.labels[known], before[known])[before[known]]
    moved = came_from != iteration.labels[known]
    rows = known[moved]
    order = np.argsort(-iteration.similarity[rows], kind="stable")
    return pd.DataFrame({"row": rows, "came_from": came_from[moved]}).iloc[order].reset_index(drop=True)


def distrusted(iteration: Iteration) -> pd.DataFrame | None:
    """Utterances whose pseudo label the gate did not trust in the last epoch, the greatest loss first (Algorithm 1, lines 6 to 15).

    Returns:
        `row` of the iteration, `loss`, `decision` (not `reliable`); None for an iteration that was trained without pseudo labels.
    """
    if iteration.losses is None:
        return None
    table = iteration.losses.assign(row=np.arange(len(iteration)))
    rows = table[table["decision"] != DECISIONS[RELIABLE]].sort_values("loss_clean", ascending=False, kind="stable")
    return pd.DataFrame({"row": rows["row"], "loss": rows["loss_clean"], "decision": rows["decision"]}).reset_index(drop=True)


def clusters(iteration: Iteration) -> pd.DataFrame:
    """A row per cluster, largest first: `label`, `size`, `tightness` (mean cosine with the centroid), `sessions` (how many)."""
    columns = {"label": iteration.labels, "similarity": iteration.similarity, "session": iteration.sessions}
    groups = pd.DataFrame(columns).groupby("label")
    table = pd.DataFrame({"size": groups.size(), "tightness": groups["similarity"].mean(), "sessions": groups["session"].nunique()})
    return table.reset_index().sort_values("size", ascending=False, kind="stable").reset_index(drop=True)
