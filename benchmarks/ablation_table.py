"""The error rates of all rows of `benchmarks/ablation.smk`: a Parquet file with a line per row and seed, and means in Markdown.

It can also be called while rows are missing.
"""

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `pipeline`, also where the project is not installed

from selfsv.artifacts import read_labels, read_table, write_table
from selfsv.clustering.quality import normalised_mutual_information
from selfsv.scoring.evaluation import measured
from selfsv.scoring.measures import measures
from selfsv.scoring.scored_lists import NORMS
from selfsv.settings.scoring import MetricSettings
from selfsv.stage import parser, run

TRUSTED = ("trusted", "trusted_kept", "trusted_shuffled")


def main() -> None:
    """Measure every row, write all, print means and deviations."""
    arguments = parser(__doc__, inputs=("folder", "speakers"), outputs=("output",))
    args = arguments.parse_args()
    settings = MetricSettings.read(args.settings)
    statistic = measures(settings.p_target, settings.c_miss, settings.c_false_alarm)
    speakers = read_table(args.speakers, ["utterance", "speaker"])
    paths = sorted(args.folder.rglob("seed_*/scores/*.parquet"))
    rows = pd.DataFrame([{**row, **of_run(path, args.folder, speakers)} for path in paths for row in measured(path, statistic)])
    write_table(args.output, rows.drop(columns=["system", "iteration"]))
    print(markdown(rows))
    for path in sorted((args.folder / "labels").glob("*.parquet")):
        print(f"labels {path.stem}: NMI {agreement(path, speakers):.3f}")


def of_run(scores: Path, folder: Path, speakers: pd.DataFrame) -> dict[str, object]:
    """What a row of metrics does not say: which row and seed, how good its clusters are, what its gate made of its labels."""
    run = scores.parents[1]
    row = run.parent.relative_to(folder)
    shares = trusted(run / "losses.parquet", folder / "labels" / f"{row.parts[1]}.parquet") if row.parts[0] == "rounds" else {}
    figures = {"row": str(row), "seed": int(run.name.removeprefix("seed_")), "nmi": agreement(run / "pseudo_labels.parquet", speakers)}
    return {**figures, **shares}


def trusted(losses: Path, labels: Path) -> dict[str, float]:
    """What share of the labels the last epoch was told to trust: of all, of those left as they were, and of those that were shuffled."""
    decided = read_table(losses, ["utterance", "decision"]).merge(pd.read_parquet(labels), on="utterance", validate="one_to_one")
    reliable, wrong = decided["decision"] == "reliable", decided["shuffled"]
    return {"trusted": reliable.mean(), "trusted_kept": reliable[~wrong].mean(), "trusted_shuffled": reliable[wrong].mean()}


def agreement(labels: Path, speakers: pd.DataFrame) -> float:
    """Normalised mutual information between the pseudo labels in a file and the speakers."""
    known = read_labels(labels).merge(speakers, on="utterance", validate="one_to_one")
    return normalised_mutual_information(pd.factorize(known["speaker"])[0], known["label"].to_numpy())


def markdown(rows: pd.DataFrame) -> str:
    """A line per row: mean ± deviation over the seeds; error rates, and shares of trusted labels, in %."""
    lines = ["| row | seeds | EER, cosine | EER, s-norm | minDCF, s-norm | NMI | trusted | kept | shuffled |", "|---|" + "---|" * 8]
    for name, runs in rows.groupby("row"):
        by_norm = {norm: runs[runs["norm"] == norm] for norm in NORMS}
        cells = [spread(100 * by_norm[norm]["eer"], 2) for norm in NORMS]
        cells += [spread(by_norm["snorm"][column], 3) for column in ("min_dcf", "nmi")]
        cells += [spread(100 * by_norm["snorm"][column], 0) for column in TRUSTED if column in runs]
        lines.append(f"| {name} | {len(by_norm['snorm'])} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: pd.Series, digits: int) -> str:
    """Mean ± standard deviation; empty where there are none."""
    if values.isna().all():
        return ""
    deviation = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{deviation}"


if __name__ == "__main__":
    run(main)
