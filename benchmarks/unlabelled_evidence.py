"""Rank correlations of measures without labels with the error rate, over finished experiments.

    python benchmarks/unlabelled_evidence.py results --trials demo --output evidence.parquet

Walks folders for experiments with `metrics.parquet` and `iter_*/diagnosis.parquet`, and for the systems of benchmarks/ablation.smk,
`iter_*/seed_*/diagnosis.parquet` beside `scores/`. A point is an iteration of an experiment. Runs whose settings differ in the seed alone
are one system. An interval resamples systems, as the rounds and seeds of one go up and down together. Prints a table in Markdown.

An experiment from before the stage existed gets its diagnoses from its models, embeddings, pseudo labels and packed audio. Nothing else is
made again, whatever has changed since:

    snakemake --configfile ... --cores 2 --allowed-rules extract_parts diagnose -- results/NAME/iter_{0,1,2}/diagnosis.parquet
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `selfsv`, also where the project is not installed

from selfsv.artifacts import read_table, write_table
from selfsv.errors import InputError
from selfsv.scoring.evaluation import measured
from selfsv.scoring.measures import measures as measures_at
from selfsv.scoring.systems import iteration
from selfsv.stage import run

DRAWS, SEED = 1000, 1
P_TARGET = 0.01  # of minDCF, which is not looked at
NO_PART_OF_A_SYSTEM = ("experiment", "seed", "runtime")
# Measure, and the sign of its correlation with the error rate if it is good for something; 0: nothing is expected.
MEASURES = {
    "part_eer": 1,
    "part_eer_snorm": 1,
    "session_eer": 1,
    "session_eer_snorm": 1,
    "session_ami": -1,
    "previous_ari": -1,
    "previous_nmi": -1,
    "resampling_ari": -1,
    "silhouette": -1,
    "effective_dimensions": 0,
    "gate_reliable": 0,
    "nmi": -1,
}
WITH_LABELS = "nmi"  # of cluster_quality.parquet: clusters and speakers, for comparison
SUBSETS = {"all": lambda index: index >= 0, "stage I": lambda index: index == 0, "rounds": lambda index: index > 0}


def main() -> None:
    """Collect points, correlate, print and write."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("roots", type=Path, nargs="+", help="folders with experiments in them, at any depth")
    arguments.add_argument("--trials", help="the trial list whose EER counts; needed where there are several")
    arguments.add_argument("--norm", choices=["cosine", "snorm"], default="cosine", help="the scores whose EER counts")
    arguments.add_argument("--output", type=Path, help="a Parquet file for the correlations")
    args = arguments.parse_args()
    found = points(args.roots, args.trials, args.norm)
    table = correlations(found)
    if args.output:
        write_table(args.output, table)
    print(f"{len(found)} iterations of {found['run'].nunique()} runs of {found['group'].nunique()} systems; EER, {args.norm}:", end=" ")
    print(" to ".join(f"{100 * found['eer'].quantile(end):.2f}" for end in (0, 1)), f"%, median {100 * found['eer'].median():.2f} %\n")
    print(markdown(table))


def points(roots: Iterable[Path], trials: str | None, norm: str) -> pd.DataFrame:
    """A row per iteration: `run`, `group` (the system), `iteration`, `eer`, and the measures.

    Raises:
        InputError: there is none, or it is not clear which trial list is meant.
    """
    experiments = sorted({file.parents[1] for root in roots for file in root.rglob("iter_*/diagnosis.parquet")})
    ablations = sorted({file.parent for root in roots for file in root.rglob("iter_*/seed_*/diagnosis.parquet")})
    found = [row for folder in experiments for row in of_experiment(folder, norm)]
    rows = pd.DataFrame(found + [row for folder in ablations for row in of_ablation(folder, norm)])
    if rows.empty:
        raise InputError(f"no experiment with metrics.parquet and diagnosis.parquet in {', '.join(map(str, roots))}")
    lists = sorted(rows["trials"].unique())
    if trials is None and len(lists) > 1:
        raise InputError(f"the experiments have several trial lists: choose one with --trials ({', '.join(lists)})")
    rows = rows[rows["trials"] == (trials or lists[0])]
    if rows.empty:
        raise InputError(f"no experiment has the trial list '{trials}' (there are {', '.join(lists)})")
    return rows.reset_index(drop=True)


def of_experiment(folder: Path, norm: str) -> Iterator[dict[str, object]]:
    """The points of one experiment, for each of its trial lists; none of one that was not scored."""
    if not (folder / "metrics.parquet").exists():
        return
    metrics = read_table(folder / "metrics.parquet", ["system", "trials", "norm", "eer"])
    for (system, trials), eer in metrics[metrics["norm"] == norm].set_index(["system", "trials"])["eer"].items():
        diagnosis, quality = (folder / system / f"{name}.parquet" for name in ("diagnosis", "cluster_quality"))
        if iteration(system) is None or not diagnosis.exists():
            continue
        measures = read_table(diagnosis).iloc[0].reindex(MEASURES).to_dict()
        if quality.exists():
            measures[WITH_LABELS] = read_table(quality, [WITH_LABELS])[WITH_LABELS].iloc[0]
        names = {"run": str(folder), "group": system_of(folder), "iteration": iteration(system), "trials": trials}
        yield {**names, "eer": eer, **measures}


def of_ablation(folder: Path, norm: str) -> Iterator[dict[str, object]]:
    """The points of one seed of a system of benchmarks/ablation.smk, `{system}/iter_{k}/{seed}`, for each of its trial lists."""
    system = folder.parents[1]
    measures = read_table(folder / "diagnosis.parquet").iloc[0].reindex(MEASURES).to_dict()
    for path in sorted(folder.glob("scores/*.parquet")):
        (eer,) = (row["eer"] for row in measured(path, measures_at(P_TARGET)) if row["norm"] == norm)
        names = {"run": f"{system}/{folder.name}", "group": str(system), "iteration": iteration(folder.parent.name), "trials": path.stem}
        yield {**names, "eer": eer, **measures}


def system_of(folder: Path) -> str:
    """The key of an experiment's system, the same for all seeds: its settings, or its name where they are not recorded."""
    path = folder / "settings.json"
    if not path.exists():
        return folder.name
    settings = json.loads(path.read_text(encoding="utf-8"))
    return json.dumps({key: value for key, value in settings.items() if key not in NO_PART_OF_A_SYSTEM}, sort_keys=True)


def correlations(found: pd.DataFrame) -> pd.DataFrame:
    """Spearman's ρ between each measure and the EER, with the ends of its 95 % interval: a row per measure and subset of iterations."""
    rows = []
    for measure, sign in MEASURES.items():
        for subset, belongs in SUBSETS.items():
            part = found[belongs(found["iteration"])].dropna(subset=[measure, "eer"]).astype({measure: float})
            rho, low, high = rank_correlation(part, measure)
            counts = {"points": len(part), "systems": part["group"].nunique()}
            best = part.loc[(sign * part[measure]).idxmin(), "eer"] if sign and len(part) else np.nan
            row = {"measure": measure, "iterations": subset, **counts, "expected_sign": sign}
            rows.append({**row, "rho": rho, "low": low, "high": high, "eer_of_its_best": best})
    return pd.DataFrame(rows)


def rank_correlation(part: pd.DataFrame, measure: str) -> tuple[float, float, float]:
    """ρ and the ends of its interval, by resampling systems with all their points; NaN where it is not defined."""
    positions = list(part.groupby("group").indices.values())
    pair = part[[measure, "eer"]].to_numpy(float)
    rho = spearman(pair)
    if len(positions) < 3:
        return rho, np.nan, np.nan
    rng = np.random.default_rng(SEED)
    draws = [
        spearman(pair[np.concatenate([positions[i] for i in rng.integers(len(positions), size=len(positions))])]) for _ in range(DRAWS)
    ]
    low, high = np.nanquantile(draws, [0.025, 0.975]) if not np.isnan(draws).all() else (np.nan, np.nan)
    return rho, float(low), float(high)


def spearman(pair: np.ndarray) -> float:
    """Of the two columns of [P, 2]; NaN where one of them is constant, or with fewer than three points."""
    if len(pair) < 3 or (pair == pair[0]).all(axis=0).any():
        return float("nan")
    return float(spearmanr(pair[:, 0], pair[:, 1]).statistic)


def markdown(table: pd.DataFrame) -> str:
    """A line per measure: ρ and its interval over all iterations, over stage I, and over the rounds."""
    lines = [f"| measure | expected | {' | '.join(f'ρ, {subset}' for subset in SUBSETS)} | EER of its best, % |", "|---|" * 1 + "---|" * 5]
    for measure, rows in table.groupby("measure", sort=False):
        by_subset = rows.set_index("iterations")
        best = by_subset.loc["all", "eer_of_its_best"]
        sign = {1: "+", -1: "−", 0: ""}[int(rows["expected_sign"].iloc[0])]
        name = f"{measure} (with labels)" if measure == WITH_LABELS else str(measure)
        cells = [cell(by_subset.loc[subset]) for subset in SUBSETS]
        lines.append(f"| {name} | {sign} | {' | '.join(cells)} | {'' if np.isnan(best) else f'{100 * best:.2f}'} |")
    return "\n".join(lines)


def cell(row: pd.Series) -> str:
    """ρ, its interval where there is one, and the number of points."""
    if np.isnan(row["rho"]):
        return ""
    interval = "" if np.isnan(row["low"]) else f" ({signed(row['low'])} to {signed(row['high'])})"
    return f"{signed(row['rho'])}{interval}, n = {row['points']}"


def signed(value: float) -> str:
    """Two digits and a sign."""
    return f"{value:+.2f}".replace("-", "−")


if __name__ == "__main__":
    run(main)
