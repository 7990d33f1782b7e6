"""Stage `metrics`: EER and minDCF of every system on every trial list, as a file and as a table for a person."""

from pathlib import Path

import pandas as pd

from selfsv.artifacts import read_table, write_table, write_text
from selfsv.errors import InputError
from selfsv.scoring.error_rates import equal_error_rate, min_dcf, operating_points
from selfsv.scoring.systems import iteration, order, title
from selfsv.settings.scoring import MetricSettings
from selfsv.stage import parser, run

NORMS = ("cosine", "snorm")
MEASURES = ("EER % cosine", "EER % s-norm", "minDCF cosine", "minDCF s-norm")


def main() -> None:
    """Read all scores, write their error rates and a table for a person."""
    arguments = parser(__doc__, outputs=("output",))
    arguments.add_argument("--scores", type=Path, nargs="+", required=True, help="files {system}/scores/{trials}.parquet")
    arguments.add_argument("--table", type=Path, help="a file for the table; without one it is printed")
    args = arguments.parse_args()
    settings = MetricSettings.read(args.settings)

    # Systems in the order of a person's interest, lists in the order given.
    paths = sorted(args.scores, key=lambda path: order(path.parts[-3]))
    metrics = pd.DataFrame([row for path in paths for row in measured(path, settings)]).astype({"iteration": "Int64"})
    write_table(args.output, metrics)
    if args.table:
        write_text(args.table, table(metrics) + "\n")
    else:
        print(table(metrics))


def measured(path: Path, settings: MetricSettings) -> list[dict[str, object]]:
    """A row of metrics for each norm in the score file `{system}/scores/{trials}.parquet`.

    Raises:
        InputError: the scores have no error rates; the message names the file.
    """
    system, trials = path.parts[-3], path.stem
    scores = read_table(path, ["target", *NORMS])
    target = scores["target"].to_numpy()
    rows: list[dict[str, object]] = []
    for norm in NORMS:
        try:
            miss, false_alarm = operating_points(scores[norm].to_numpy(), target)
        except InputError as error:
            raise InputError(f"{path}, {norm}: {error}") from None
        row = {"system": system, "iteration": iteration(system), "trials": trials, "norm": norm}
        cost = min_dcf(miss, false_alarm, settings.p_target, settings.c_miss, settings.c_false_alarm)
        counts = {"targets": int(target.sum()), "nontargets": int((~target).sum())}
        rows.append({**row, "eer": equal_error_rate(miss, false_alarm), "min_dcf": cost, **counts})
    return rows


def table(metrics: pd.DataFrame) -> str:
    """`metrics` as text for a terminal: a block per trial list, a line per system."""
    width = max(len(title(system)) for system in metrics["system"])
    blocks = []
    for name, rows in metrics.groupby("trials", sort=False):
        targets, nontargets = rows[["targets", "nontargets"]].iloc[0]
        head = f"{name}: {targets:,} target and {nontargets:,} non-target trials"
        columns = "  ".join([" " * width, *MEASURES])
        lines = [_line(str(system), group.set_index("norm"), width) for system, group in rows.groupby("system", sort=False)]
        blocks.append("\n".join([head, columns, "-" * len(columns), *lines]))
    return "\n" + "\n\n".join(blocks) + "\n"


def _line(system: str, rows: pd.DataFrame, width: int) -> str:
    eer = [f"{100 * rate:.2f}" for rate in rows["eer"].loc[list(NORMS)]]
    cost = [f"{cost:.3f}" for cost in rows["min_dcf"].loc[list(NORMS)]]
    cells = (value.rjust(len(measure)) for value, measure in zip(eer + cost, MEASURES, strict=True))
    return "  ".join([title(system).ljust(width), *cells])


if __name__ == "__main__":
    run(main)
