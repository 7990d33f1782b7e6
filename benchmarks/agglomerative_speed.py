"""Time and memory of agglomerative clustering on made-up embeddings: `python benchmarks/agglomerative_speed.py 10000 50000`."""

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `selfsv`, also where the project is not installed

from selfsv.clustering.agglomerative import agglomerate

DIMENSIONS, POINTS_PER_GROUP = 192, 4


def main() -> None:
    """Cluster points in groups of four, by both linkages, and print a row for each."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("points", type=int, nargs="+")
    arguments.add_argument("--device", default="cpu")
    args = arguments.parse_args()
    print("| points | linkage | seconds | memory, GB |\n|---|---|---|---|")
    for count in args.points:
        points = groups(count).to(args.device)
        for linkage in ("ward", "average"):
            begin = time.perf_counter()
            agglomerate(points, torch.ones(count, device=args.device), linkage)
            seconds = time.perf_counter() - begin
            print(f"| {count:,} | {linkage} | {seconds:.1f} | {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} |", flush=True)


def groups(count: int) -> torch.Tensor:
    """[count, DIMENSIONS] float32 of length 1, around centres of their own."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(count // POINTS_PER_GROUP, DIMENSIONS))
    points = centres[rng.integers(len(centres), size=count)] + rng.normal(size=(count, DIMENSIONS))
    return torch.nn.functional.normalize(torch.from_numpy(points).float(), dim=1)


if __name__ == "__main__":
    main()
