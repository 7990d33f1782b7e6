"""Draw the learning curves of finished systems: one table and one picture of their histories.

    python benchmarks/learning_curves.py results/systems/systems --data results/demo/data --output benchmarks/learning_curves.parquet \\
        --picture docs/images/learning-curves.png sdpn ca_dino simclr

Each system has `iter_I/seed_S/`, as benchmarks/ablation.smk makes them. The table has a row per system, iteration, seed and epoch, with all
columns of the history, and in an iteration's last epoch the NMI of its clusters with the speakers.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import normalized_mutual_info_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from selfsv.artifacts import read_table, write_table
from selfsv.stage import run

OF_A_MACHINE = ["utterances_per_second", "data_wait_seconds", "seconds"]
PANELS = {  # title, and the column by iteration: stage I, rounds
    "Stage I: loss": ("loss", True),
    "Stage I: norm of the gradient": ("gradient_norm", True),
    "Round 1: accuracy on the pseudo labels": ("accuracy", False),
    "Round 1: share of labels that the gate trusts": ("reliable", False),
}


def main() -> None:
    """Read, write the table, draw."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path, help="of the systems")
    arguments.add_argument("systems", nargs="+")
    arguments.add_argument("--data", type=Path, required=True, help="where {corpus}/speakers.parquet of the training corpus is")
    arguments.add_argument("--output", type=Path, required=True)
    arguments.add_argument("--picture", type=Path, required=True)
    args = arguments.parse_args()
    speakers = read_table(args.data / "train" / "speakers.parquet", ["utterance", "speaker"])
    curves = pd.concat(histories(args.folder, args.systems, speakers), ignore_index=True)
    write_table(args.output, pa.Table.from_pandas(curves, preserve_index=False))
    picture(curves, args.picture)
    print(last_epochs(curves).to_string(index=False))


def histories(folder: Path, systems: list[str], speakers: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The history of every model that there is."""
    for system in systems:
        for path in sorted((folder / system).glob("iter_*/seed_*/history.parquet")):
            iteration, seed = (int(part.rpartition("_")[2]) for part in path.parts[-3:-1])
            history = read_table(path).drop(columns=OF_A_MACHINE)
            history["nmi"] = None
            labels = path.with_name("pseudo_labels.parquet")
            if labels.exists():
                known = read_table(labels, ["utterance", "label"]).merge(speakers, on="utterance")
                history.loc[history.index[-1], "nmi"] = normalized_mutual_info_score(known["speaker"], known["label"])
            yield history.assign(system=system, iteration=iteration, seed=seed, nmi=history["nmi"].astype(float))


def last_epochs(curves: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of some figures at the end of each training."""
    ends = curves[curves.groupby(["system", "iteration", "seed"])["epoch"].transform("max") == curves["epoch"]]
    kept = ["loss", "accuracy", "reliable", "gradient_norm", "nmi"]
    return ends.groupby(["system", "iteration"]).agg({"seed": "count", **dict.fromkeys(kept, "mean")}).round(3).reset_index()


def picture(curves: pd.DataFrame, path: Path) -> None:
    """Four panels; a line per system, the mean over its seeds, and a band from the least to the greatest."""
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    for axes, (title, (column, of_stage_one)) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        panel(axes, curves[curves["iteration"] == (0 if of_stage_one else 1)], column)
        axes.set_title(title, fontsize=11)
    figure.savefig(path, dpi=110)


def panel(axes: Axes, curves: pd.DataFrame, column: str) -> None:
    """One figure of all systems."""
    for system, rows in curves.groupby("system", sort=False):
        by_epoch = rows.groupby("epoch")[column]
        mean = by_epoch.mean()
        (line,) = axes.plot(mean.index, mean, label=f"{system}, {rows['seed'].nunique()} seed{'s' * (rows['seed'].nunique() > 1)}")
        axes.fill_between(mean.index, by_epoch.min(), by_epoch.max(), color=line.get_color(), alpha=0.2)
    axes.set_xlabel("epoch")
    if column == "gradient_norm":
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9)


if __name__ == "__main__":
    run(main)
