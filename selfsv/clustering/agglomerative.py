"""Agglomerative clustering of weighted points, exactly, in memory that grows with their number alone.

Libraries keep all N (N - 1) / 2 distances: 5 GB at 50,000 points in float32, and 10 as scipy does it. A cluster of the linkages here is
summed up by the sum of its points, so that its distances from others are one product of a matrix and a vector.
"""

from typing import Literal, NamedTuple

import faiss
import numpy as np
import torch
from torch import Tensor

from selfsv.cluster_means import cluster_means
from selfsv.clustering.kmeans import Clustering
from selfsv.clustering.preparation import chunks

Linkage = Literal["ward", "average"]
LISTED = 32  # nearest clusters that are remembered of each
AT_ONCE = 256  # rows whose distances from all others are computed together


class Tree(NamedTuple):
    """N - 1 merges, the least height first, as scipy's `linkage` numbers them: 0 … N - 1 are points, N + i is merge i's cluster."""

    first: np.ndarray  # [N - 1] int64, the lesser number of the two that are merged
    second: np.ndarray  # [N - 1] int64
    height: np.ndarray  # [N - 1] float64


def agglomerate(points: Tensor, weights: Tensor, linkage: Linkage) -> Tree:
    """Merge the two nearest clusters until one is left, by chains of nearest neighbours (Murtagh 1983).

    The two linkages are reducible: a merge brings no third cluster nearer. So clusters that are each other's nearest may be merged at
    once, in whatever order, and the tree is that of the plain algorithm. Time grows with N², memory with N.

    Args:
        points: [N, D] of length 1, or the means of such points. Distances are computed in their type, on their device.
        weights: [N] how many members each point has.
        linkage: `ward`: sqrt(2 a b / (a + b)) times the distance of the centroids of clusters with weights a and b, as scipy has it.
            `average`: the mean of 1 - cosine over all pairs of points.
    """
    clusters = _Clusters(points * weights[:, None].to(points), weights.to(points), linkage)
    chain: list[int] = []  # rows, each the nearest neighbour of the one before
    merges = []
    while clusters.count > 1:
        chain = chain or [clusters.any_row()]
        nearest, distance, before = clusters.nearest(chain[-1], chain[-2] if len(chain) > 1 else None)
        if not before:
            chain.append(nearest)
            continue
        last, other = chain.pop(), chain.pop()
        merges.append((*clusters.merge(other, last), distance))
        if clusters.is_sparse():
            chain = clusters.compact(chain)
    tree = _in_order(merges, len(points))
    return tree._replace(height=np.sqrt(tree.height)) if linkage == "ward" else tree


class _Clusters:
    """The clusters that are left, a row each. The row of a cluster that was merged into another one has weight 0.

    A row lists its nearest clusters when all are looked at. As merges bring nothing nearer, what is not listed is never nearer than it
    was then: as long as one that is listed is nearer than that, it is the nearest of all, and the others need not be looked at.
    """

    def __init__(self, sums: Tensor, weights: Tensor, linkage: Linkage):
        self._sums, self._weights, self._linkage = sums.clone(), weights.clone(), linkage
        self._squares = sums.square().sum(dim=1) / weights.square()  # of the centroids' lengths
        self._merged = torch.zeros(len(sums), dtype=sums.dtype, device=sums.device)  # inf where there is no cluster any more
        self._numbers = list(range(len(sums)))
        self._next = self.count = len(sums)
        self._row = np.arange(len(sums))  # where the cluster of each row is now
        self._lists: dict[int, tuple[np.ndarray, float]] = {}  # by row: rows, and how near what is not listed may be
        for start in range(0, len(sums), AT_ONCE):
            self._list(torch.arange(start, min(start + AT_ONCE, len(sums)), device=sums.device))

    def any_row(self) -> int:
        """A row that has a cluster."""
        return int(self._merged.argmin())

    def nearest(self, row: int, before: int | None) -> tuple[int, float, bool]:
        """The nearest cluster to `row`'s, its distance, and whether it is `before`, which is preferred where several are as near."""
        nearest, distance = self._nearest_listed(row, before)
        if distance > self._lists[row][1]:
            self._list(torch.tensor([row], device=self._sums.device))
            nearest, distance = self._nearest_listed(row, before)
        return nearest, distance, nearest == before

    def _nearest_listed(self, row: int, before: int | None) -> tuple[int, float]:
        """The nearest of `before` and the clusters in the list of `row`, and its distance; inf where there is none."""
        listed, _ = self._listed(row)
        rows = listed if before is None else np.concatenate([[before], listed])
        if not len(rows):
            return row, torch.inf
        distances = self._distances(torch.tensor([row]), torch.from_numpy(rows))[0].numpy(force=True)
        place = int(distances.argmin())  # the first of several that are as near
        return int(rows[place]), float(distances[place])

    def _listed(self, row: int) -> tuple[np.ndarray, float]:
        """The rows that the clusters in the list of `row` are in now."""
        listed, bound = self._lists[row]
        rows = np.unique(self._now(listed))
        return rows[rows != row], bound

    def _now(self, rows: np.ndarray) -> np.ndarray:
        while not np.array_equal(rows, further := self._row[rows]):
            rows = further
        return rows

    def _list(self, rows: Tensor) -> None:
        """Look at all clusters, and list those that are nearest to each of `rows`."""
        distances = self._distances(rows, slice(None))
        distances[torch.arange(len(rows)), rows] = torch.inf
        values, places = distances.topk(min(LISTED + 1, self.count, len(self._sums)), dim=1, largest=False)
        complete = self.count <= LISTED + 1
        nearest, bounds = places[:, : None if complete else -1].cpu().numpy(), values[:, -1].tolist()
        for row, listed, bound in zip(rows.tolist(), nearest, bounds, strict=True):
            self._lists[row] = listed, torch.inf if complete else bound

    def _distances(self, rows: Tensor, others: Tensor | slice) -> Tensor:
        """[M, O] of the linkage, inf where there is no cluster; of Ward the square."""
        weights, own = self._weights[others], self._weights[rows].unsqueeze(1)
        cosine = self._sums[rows] @ self._sums[others].T / (weights * own)
        if self._linkage == "average":
            return 1 - cosine + self._merged[others]
        apart = (self._squares[others] + self._squares[rows].unsqueeze(1) - 2 * cosine).clamp_min(0)
        return 2 * weights * own / (weights + own) * apart + self._merged[others]

    def merge(self, into: int, row: int) -> tuple[int, int]:
        """Merge `row`'s cluster into that of another row; returns the numbers that both had."""
        numbers = self._numbers[into], self._numbers[row]
        self._sums[into] += self._sums[row]
        self._weights[into] += self._weights[row]
        self._squares[into] = self._sums[into].square().sum() / self._weights[into].square()
        self._merged[row] = torch.inf
        self._numbers[into] = self._next
        self._next += 1
        self.count -= 1
        self._row[row] = into
        (one, nearer), (other, farther) = self._listed(into), self._lists.pop(row)
        self._lists[into] = np.union1d(one, self._now(other)), min(nearer, farther)
        return numbers

    def is_sparse(self) -> bool:
        """True if a quarter of the rows are empty: compacting them then costs less than reading them."""
        return self.count < 0.75 * len(self._sums)

    def compact(self, chain: list[int]) -> list[int]:
        """Leave out empty rows; returns where the rows of `chain` are now."""
        kept = torch.isfinite(self._merged)
        places = (kept.cumsum(0) - 1).cpu().numpy()
        self._numbers = [number for number, keep in zip(self._numbers, kept.tolist(), strict=True) if keep]
        self._lists = {int(places[row]): (places[np.unique(self._now(rows))], bound) for row, (rows, bound) in self._lists.items()}
        self._row = np.arange(self.count)
        self._sums, self._weights = self._sums[kept], self._weights[kept]
        self._squares, self._merged = self._squares[kept], self._merged[kept]
        return [int(places[row]) for row in chain]


def _in_order(merges: list[tuple[int, int, float]], points: int) -> Tree:
    """The tree of `merges`, which are numbered as they were made, numbered by their heights."""
    heights = np.array([height for _, _, height in merges])
    # Where a rounding error puts a cluster's merge below one within it, the later one stays later.
    for place, (one, other, _) in enumerate(merges):
        heights[place] = max([heights[place], *(heights[number - points] for number in (one, other) if number >= points)])
    order = np.argsort(heights, kind="stable")
    renamed = np.arange(points + len(merges))
    renamed[points + order] = points + np.arange(len(merges))
    pairs = np.sort(renamed[np.array([merge[:2] for merge in merges], dtype=np.int64).reshape(-1, 2)[order]], axis=1)
    return Tree(pairs[:, 0], pairs[:, 1], heights[order])


def cut(tree: Tree, clusters: int) -> np.ndarray:
    """[N] int64 the cluster of each point, 0 … `clusters` - 1, after all but the last `clusters` - 1 merges.

    Clusters are numbered by their first points.
    """
    points = len(tree.height) + 1
    root = np.arange(2 * points - 1)
    merged = points - clusters
    # From the last merge made to the first: a merged cluster's root is known before those of its parts.
    for place in range(merged - 1, -1, -1):
        root[[tree.first[place], tree.second[place]]] = root[points + place]
    _, first, labels = np.unique(root[:points], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[labels]


def agglomerative_clustering(unit: np.ndarray, cells: Clustering, clusters: int, linkage: Linkage) -> Clustering:
    """Merge the cells of a finer clustering until `clusters` are left; each cell weighs as much as it has members.

    Given the cells it is the clustering of all utterances: what is merged are sums over their members. On a GPU where faiss uses one.

    Args:
        unit: [N, D] float32 of length 1.
        cells: of these.
    """
    device = "cuda" if faiss.get_num_gpus() > 0 else "cpu"
    torch.set_num_threads(faiss.omp_get_max_threads())
    used, members, weights = np.unique(cells.labels, return_inverse=True, return_counts=True)
    tree = agglomerate(torch.from_numpy(cluster_means(unit, members)).to(device), torch.from_numpy(weights).to(device), linkage)
    labels = cut(tree, min(clusters, len(used)))[members]
    centroids = cluster_means(unit, labels)
    centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return Clustering(labels.astype(np.int32), cosine_to_own(unit, centroids, labels), centroids)


def each_alone(unit: np.ndarray) -> Clustering:
    """Every embedding as a cell of its own."""
    return Clustering(np.arange(len(unit), dtype=np.int32), np.ones(len(unit), np.float32), unit)


def cosine_to_own(unit: np.ndarray, centroids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[N] float32 each embedding's cosine with the centroid of its cluster."""
    cosine = np.empty(len(unit), np.float32)
    for rows in chunks(len(unit)):
        cosine[rows] = np.einsum("nd,nd->n", unit[rows], centroids[labels[rows]])
    return cosine
