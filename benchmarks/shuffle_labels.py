"""Shuffle a share of the pseudo labels of a file among themselves: wrong labels whose number is known, for a gate to find.

    python benchmarks/shuffle_labels.py pseudo_labels.parquet --share 0.3

A column `shuffled` says which; training does not read it. A share of 0 leaves all labels as they are.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `pipeline`, also where the project is not installed

from selfsv.artifacts import write_table

SEED = 1


def main() -> None:
    """Read, shuffle, write in place."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("labels", type=Path)
    arguments.add_argument("--share", type=float, required=True, help="fraction of the labels, 0 to 1")
    args = arguments.parse_args()
    table = pd.read_parquet(args.labels)
    write_table(args.labels, shuffled(table, args.share))


def shuffled(table: pd.DataFrame, share: float) -> pd.DataFrame:
    """`table` with that share of its labels permuted; some of them stay what they were by chance."""
    rng = np.random.default_rng(SEED)
    chosen = rng.permutation(len(table))[: round(share * len(table))]
    labels = table["label"].to_numpy().copy()
    labels[chosen] = labels[rng.permutation(chosen)]
    return table.assign(label=labels, shuffled=np.isin(np.arange(len(table)), chosen))


if __name__ == "__main__":
    main()
