"""Error rates as text for a terminal."""

from collections.abc import Sequence

import pandas as pd

from selfsv.scoring.measures import SECOND_PRIOR
from selfsv.scoring.systems import STAGE_ONE, title

NORM_TITLES = {"cosine": "cosine", "snorm": "s-norm"}
ENOUGH_UNITS = 30
EACH = {
    "speakers": "the {units:,} speakers",
    "sessions": "the {units:,} sessions, as the speakers are not known",
    "recordings": "the {units:,} recordings, as neither speakers nor sessions are known",
}


def resampling(kind: str, units: int) -> str:
    """The units that the intervals of a list resample, in words."""
    return EACH.get(kind, "{units:,} units").format(units=units)


def caveat(kind: str, units: int) -> str:
    """A warning about the intervals of a list with few units; empty where there are enough.

    In simulations of 12 speakers the intervals held the true EER in 0.88 to 0.90 of the lists and the true minDCF at p = 0.01 in half of
    them; of 25 speakers in 0.95 and 0.86; of 40 in 0.93 and more.
    """
    if units >= ENOUGH_UNITS:
        return ""
    return f"With fewer than {ENOUGH_UNITS} {kind} the intervals are too narrow, those of minDCF most."


def with_interval(row: pd.Series, measure: str) -> str:
    """A figure with its interval in brackets, EER in %: `11.29 [8.20, 14.88]`."""
    scale, digits = (100, 2) if measure == "eer" else (1, 3)
    figure, low, high = (f"{scale * row[name]:.{digits}f}" for name in (measure, f"{measure}_low", f"{measure}_high"))
    return f"{figure} [{low}, {high}]" if pd.notna(row[f"{measure}_low"]) else figure


def measure_titles(p_target: float) -> dict[str, str]:
    """The heads of the columns of figures, by measure.

    Args:
        p_target: of `min_dcf`.
    """
    return {"eer": "EER, %", "min_dcf": f"minDCF, p = {p_target:g}", "min_dcf_p05": f"minDCF, p = {SECOND_PRIOR:g}"}


def metric_table(metrics: pd.DataFrame, p_target: float, stage_one: str = STAGE_ONE) -> str:
    """`metrics` as a block per trial list, a line per system and norm; `iter_0` is called `stage_one`."""
    heads = measure_titles(p_target)
    blocks = []
    for name, rows in metrics.groupby("trials", sort=False):
        first = rows.iloc[0]
        head = f"{name}: {first['targets']:,} target and {first['nontargets']:,} non-target trials; in brackets 95 % intervals, resampling "
        cells = [["", "", *heads.values()]]
        for system, group in rows[rows["norm"].isin(list(NORM_TITLES))].groupby("system", sort=False):
            names = [title(str(system), stage_one), *[""] * (len(group) - 1)]
            for label, (_, row) in zip(names, group.iterrows(), strict=True):
                cells.append([label, NORM_TITLES[row["norm"]], *(with_interval(row, measure) for measure in heads)])
        lines = [f"{head}{resampling(first['resampled'], first['units'])}", caveat(first["resampled"], first["units"]), aligned(cells)]
        lines.append(calibration_lines(rows, p_target, stage_one))
        blocks.append("\n".join(filter(None, lines)))
    return "\n" + "\n\n".join(blocks) + "\n"


def calibration_lines(metrics: pd.DataFrame, p_target: float, stage_one: str) -> str:
    """The cost of log-likelihood ratios, a line per system that has them; empty where none has."""
    rows = metrics[metrics["cllr"].notna()]
    if not len(rows):
        return ""
    costs = {"act_dcf": f"actual DCF, p = {p_target:g}", "act_dcf_p05": f"actual DCF, p = {SECOND_PRIOR:g}"}
    cells = [["log-likelihood ratios", "Cllr", "minCllr", *costs.values()]]
    for _, row in rows.iterrows():
        cells.append([title(str(row["system"]), stage_one), *(f"{row[column]:.3f}" for column in ("cllr", "min_cllr", *costs))])
    return f"\n{aligned(cells)}"


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """Rows of cells in columns, the first above a line; without the first where that is empty."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    first, *others = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    line = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([*([first, line] if first else []), *others])
