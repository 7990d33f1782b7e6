"""The report's figures. Each takes numbers and returns an SVG element; none grows with the number of utterances."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from scipy.stats import norm as normal

from selfsv.losses.loss_gate import SMALLEST_LOSS
from selfsv.report.drawing import (
    AMBER,
    BLUE,
    FAINT,
    GREEN,
    INK,
    MUTED,
    NARROW,
    PURPLE,
    SKY,
    SQUARE,
    VERMILLION,
    draw,
    round_colour,
    whole_numbers,
)
from selfsv.report.paper import counterparts
from selfsv.scoring.error_rates import decision_thresholds, equal_error_rate, operating_points
from selfsv.scoring.systems import BASELINES, LARGE_MARGIN, Title, iteration, title

BINS = 60
DET_GRID = 0.02  # probits between two points of a DET curve, finer than a screen shows
DET_TICKS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6)
MEASURES = {"nmi": "NMI", "purity": "purity"}
PART_COLOURS = (MUTED, VERMILLION, BLUE, GREEN, PURPLE, AMBER, SKY)
BASELINE_LINES: dict[str, Any] = {"baseline_fbank": ":", "baseline_untrained": "--", "baseline_whitened": (0, (6, 1.5, 1.5, 1.5))}
PAPER_LINES = ((0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))


def system_line(system: str, rounds: int) -> dict[str, Any]:
    """Colour and dashes of a system's line: baselines grey, stage I warm, rounds in darkening blue, large margin purple."""
    index = iteration(system)
    if system == LARGE_MARGIN:
        return {"color": PURPLE, "linestyle": "-."}
    if index is None:
        return {"color": MUTED, "linestyle": BASELINE_LINES.get(system, "--"), "linewidth": 1.5}
    return {"color": round_colour(index, rounds) if index else VERMILLION}


def eer_per_round(trials: str, metrics: pd.DataFrame, modality: str, stage_one: str) -> Markup:
    """EER over rounds on one list, cosine and s-norm, with the baselines and the paper's curve.

    Args:
        metrics: the rows of `metrics.parquet` about this list.
        modality: which of the paper's tables the curve is from.
        stage_one: what round 0 is called.
    """

    def plot(axes: Axes) -> None:
        rounds = metrics[metrics["iteration"].notna()]
        for norm, name, colour, dashes, side in (("cosine", "cosine", BLUE, "-", -0.025), ("snorm", "s-norm", GREEN, "--", 0.025)):
            rows = rounds[rounds["norm"] == norm].sort_values("iteration")
            places = rows["iteration"].astype(int)
            axes.plot(places, 100 * rows["eer"], marker="o", markersize=5, label=name, color=colour, linestyle=dashes)
            # Beside each other: the intervals of the two overlap.
            axes.vlines(places + side, 100 * rows["eer_low"], 100 * rows["eer_high"], color=colour, linewidth=2.5, alpha=0.45)
        last = max(int(rounds["iteration"].max()) if len(rounds) else 0, 1)
        for published, pattern in zip(counterparts(trials, modality), PAPER_LINES, strict=False):
            values = published.eer_percent[: last + 1]
            axes.plot(range(len(values)), values, color=FAINT, linestyle=pattern, linewidth=1.4, label=f"paper, {published.name}")
        _baseline_levels(axes, metrics)
        axes.set(xlabel=f"round (0 = {stage_one})", ylabel="EER, %", xlim=(-0.25, last + 0.25))
        axes.set_ylim(0, 1.12 * axes.dataLim.y1)
        whole_numbers(axes)
        axes.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.2))

    return draw(f"eer-{trials}", f"Equal error rate per round on {trials}", plot, (4.9, 3.5))


def _baseline_levels(axes: Axes, metrics: pd.DataFrame) -> None:
    baselines = metrics[metrics["system"].isin(BASELINES) & (metrics["norm"] == "cosine")].sort_values("eer")
    above = True
    for system, eer in zip(baselines["system"], baselines["eer"], strict=True):
        axes.axhline(100 * eer, color=MUTED, linestyle=BASELINE_LINES[system], linewidth=1.1)
        # Some are often close together: their names go to opposite sides of them.
        above = not above
        place: dict[str, Any] = {"va": "bottom" if above else "top", "xytext": (-2, 2 if above else -2)}
        axes.annotate(
            f"{BASELINES[system]} {100 * eer:.1f}",
            (1, 100 * eer),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=MUTED,
            **place,
        )
        axes.update_datalim([(0, 100 * eer)])


def eer_per_part(trials: str, rates: pd.DataFrame, start_title: Title) -> Markup:
    """EER over parts of a labelled corpus, a line per encoder that the tuning starts from.

    Args:
        rates: cosine rates with `start`, `percent` (0: not tuned) and `eer`.
    """
    parts = sorted(set(rates["percent"]))

    def plot(axes: Axes) -> None:
        for (start, rows), colour in zip(rates.groupby("start", sort=False), PART_COLOURS, strict=False):
            rows = rows.sort_values("percent")
            places = [parts.index(part) for part in rows["percent"]]
            axes.plot(places, 100 * rows["eer"], marker="o", markersize=5, color=colour, label=start_title(str(start)))
        axes.set_xticks(range(len(parts)), [str(part) if part else "none" for part in parts])
        axes.set(xlabel="labelled utterances, %", ylabel="EER, %", xlim=(-0.25, len(parts) - 0.75))
        axes.set_ylim(0, 1.12 * axes.dataLim.y1)
        axes.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.2))

    return draw(f"labels-{trials}", f"Equal error rate per part of the labels on {trials}", plot, (4.9, 3.5))


def det(
    name: str,
    description: str,
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    title: Title,
    bands: Mapping[str, pd.DataFrame] | None = None,
) -> Markup:
    """Detection error trade-off on probit axes, a line per system, with a dot at its EER.

    Args:
        curves: by system, miss and false-alarm rates from `operating_points`.
        bands: by system, rows of `det_bands.parquet`: those of stage I and of the last round are drawn, as more would hide each other.
    """
    rounds = max((iteration(system) or 0 for system in curves), default=0)
    intervals = bands or {}

    def plot(axes: Axes) -> None:
        # Below the rate of one trial there is nothing to see.
        least = min(rates[rates > 0].min() for curve in curves.values() for rates in curve)
        ticks = [tick for tick in DET_TICKS if tick >= least / 2] or [DET_TICKS[-1]]
        limits = normal.ppf([0.7 * ticks[0], 0.65])
        axes.plot(limits, limits, color=FAINT, linewidth=0.8)
        for system in sorted({"iter_0", f"iter_{rounds}"} & set(intervals)):
            band = normal.ppf(intervals[system][["false_alarm", "miss_low", "miss_high"]]).clip(limits[0] - 0.5, -limits[0] + 0.5).T
            axes.fill_between(*band, color=system_line(system, rounds)["color"], alpha=0.13, linewidth=0)
        for system, (miss, false_alarm) in curves.items():
            line = system_line(system, rounds)
            axes.plot(*det_points(miss, false_alarm, limits[0] - 0.5), label=title(system), **line)
            eer = normal.ppf(np.clip(equal_error_rate(miss, false_alarm), 1e-6, 1 - 1e-6))
            axes.plot(eer, eer, "o", color=line["color"], markersize=6.5, markeredgecolor="white", markeredgewidth=1)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(normal.ppf(ticks), [f"{100 * tick:g}" for tick in ticks])
        axes.set(xlim=limits, ylim=limits, xlabel="false alarms, %", ylabel="misses, %", aspect="equal")
        axes.legend(loc="upper right", fontsize=8, frameon=True, framealpha=0.85, edgecolor="none")

    return draw(name, description, plot, SQUARE)


def score_histogram(name: str, description: str, scores: np.ndarray, target: np.ndarray) -> Markup:
    """The distribution of scores of targets and of non-targets, each with area 1, and the threshold of equal error rates.

    Args:
        scores: [N].
        target: [N] bool.
    """
    edges = np.linspace(scores.min(), scores.max() + 1e-6, BINS + 1)
    miss, false_alarm = operating_points(scores, target)
    threshold = decision_thresholds(scores, target)[int(np.argmin(np.abs(miss - false_alarm)))]

    def plot(axes: Axes) -> None:
        for kind, label, colour in ((~target, "non-targets", VERMILLION), (target, "targets", BLUE)):
            density, _ = np.histogram(scores[kind], edges, density=True)
            axes.stairs(density, edges, fill=True, alpha=0.35, color=colour)
            axes.stairs(density, edges, color=colour, linewidth=1.2, label=label)
        axes.axvline(threshold, color=INK, linewidth=1.2, linestyle="--")
        axes.set(xlabel="score", ylabel="density", xlim=(edges[0], edges[-1]))
        axes.legend(loc="upper center", ncols=2, bbox_to_anchor=(0.5, -0.13))

    return draw(name, description, plot, SQUARE)


def det_points(miss: np.ndarray, false_alarm: np.ndarray, lowest: float) -> tuple[np.ndarray, np.ndarray]:
    """False-alarm and miss rates in probits, thinned to what a screen can show; rates of 0 and 1 end at ±`lowest`."""
    probits = np.stack([normal.ppf(false_alarm), normal.ppf(miss)]).clip(lowest, -lowest)
    cell = np.round(probits / DET_GRID)
    keep = np.r_[True, (np.diff(cell, axis=1) != 0).any(axis=0)]
    keep[-1] = True
    return probits[0, keep], probits[1, keep]


def loss_histogram(name: str, losses: np.ndarray, gate: pd.Series) -> Markup:
    """The clean losses of the last epoch on a log scale, the mixture fitted to them, and the threshold (paper Fig. 3).

    Args:
        losses: [N], nats.
        gate: the last row of `gate.parquet`.
    """
    values = np.log(np.maximum(losses.astype(np.float64), SMALLEST_LOSS))
    low, high = np.quantile(values, [0.001, 0.999])
    threshold = None if pd.isna(gate["tau1"]) else float(np.log(gate["tau1"]))
    if threshold is not None:
        low, high = min(low, threshold), max(high, threshold)
    margin = 0.04 * (high - low) + 1e-3
    density, edges = np.histogram(values, bins=BINS, range=(low - margin, high + margin))
    grid = np.linspace(edges[0], edges[-1], 300)

    def plot(axes: Axes) -> None:
        axes.stairs(density / (len(values) * np.diff(edges)), edges, fill=True, color="#cdd6df", label="utterances")
        for part, colour, label in ((1, BLUE, "lower component"), (2, VERMILLION, "upper component")):
            scale = np.sqrt(gate[f"variance_{part}"])
            axes.plot(grid, gate[f"weight_{part}"] * normal.pdf(grid, gate[f"mean_{part}"], scale), color=colour, label=label)
        axes.set_ylim(0, 1.25 * axes.dataLim.y1)
        if threshold is not None:
            axes.axvline(threshold, color=INK, linewidth=1.4, linestyle="--", label=f"τ₁ = {gate['tau1']:.3g}")
        axes.set(xlabel="log of the clean loss", ylabel="density", xlim=(edges[0], edges[-1]))
        axes.legend(loc="upper center", ncols=2, bbox_to_anchor=(0.5, -0.24))

    return draw(name, "Histogram of the log clean loss with both Gaussians and the threshold", plot, (3.7, 2.9))


def threshold_per_epoch(name: str, gate: pd.DataFrame) -> Markup:
    """τ₁ over the epochs."""

    def plot(axes: Axes) -> None:
        rows = gate[gate["tau1"].notna()]
        axes.plot(rows["epoch"] + 1, rows["tau1"], color=BLUE, marker="o" if len(rows) < 30 else "", markersize=3.5)
        axes.set(xlabel="epoch", ylabel="τ₁, clean loss", xlim=_epochs(gate))
        axes.set_ylim(0, 1.12 * axes.dataLim.y1)
        whole_numbers(axes)

    return draw(name, "Threshold of the gate over the epochs", plot, NARROW)


def fractions_per_epoch(name: str, gate: pd.DataFrame) -> Markup:
    """Reliable, agreed, corrected and dropped utterances over the epochs, stacked to 100 %."""
    shown = fractions(gate)
    colours = {"reliable": BLUE, "agreed": SKY, "corrected": AMBER, "dropped": "#b9c1ca"}
    *others, last = shown

    def plot(axes: Axes) -> None:
        edges = np.append(gate["epoch"] + 0.5, gate["epoch"].iloc[-1] + 1.5)  # a step per epoch: between epochs there is nothing
        base = np.zeros(len(gate))
        for part, share in shown.items():
            axes.stairs(base + share, edges, baseline=base, fill=True, color=colours[part], label=part)
            base = base + share
        axes.set(xlabel="epoch", ylabel="utterances, %", ylim=(0, 100), xlim=_epochs(gate))
        axes.grid(axis="x", visible=False)
        whole_numbers(axes)
        # Four names would be wider than the figure.
        tight: dict[str, Any] = {"columnspacing": 1.0, "handlelength": 1.0, "handletextpad": 0.4} if len(shown) > 3 else {}
        axes.legend(ncols=len(shown), loc="lower center", bbox_to_anchor=(0.5, 1.0), **tight)

    return draw(name, f"Fractions of {', '.join(others)} and {last} utterances over the epochs", plot, NARROW)


def fractions(gate: pd.DataFrame) -> dict[str, np.ndarray]:
    """Shares of the utterances by decision, [epochs] each, in %; they sum to 100. `agreed` exists with two modalities only."""
    shares = {part: 100 * gate[part].to_numpy(float) for part in ("reliable", "agreed", "corrected", "dropped") if part in gate}
    if "agreed" in shares:
        shares["corrected"] = np.maximum(shares["corrected"] - shares["agreed"], 0)  # the file counts the agreed among the corrected
    return shares


def cluster_sizes(name: str, sizes: np.ndarray) -> Markup:
    """How many clusters have how many utterances.

    Args:
        sizes: [K].
    """
    spread = sizes.max() > 12 * max(1.0, float(np.median(sizes)))
    if spread:
        edges = np.unique(np.geomspace(1, sizes.max() + 1, 40).round())
    else:
        width = math.ceil((sizes.max() + 1) / min(40, 2 * math.sqrt(len(sizes)) + 4))
        edges = np.arange(0, sizes.max() + 1 + width, width) - 0.5
    counts, _ = np.histogram(sizes, edges)

    def plot(axes: Axes) -> None:
        axes.stairs(counts, edges, fill=True, color=BLUE, alpha=0.85)
        axes.axvline(float(np.median(sizes)), color=INK, linewidth=1.2, linestyle="--", label=f"median {np.median(sizes):g}")
        axes.set(xlabel="utterances in a cluster", ylabel="clusters", xscale="log" if spread else "linear")
        axes.legend(loc="upper right")

    return draw(name, "Distribution of cluster sizes", plot, NARROW)


def agreement(quality: pd.DataFrame, title: Title) -> Markup:
    """NMI and purity of each system's clusters.

    Args:
        quality: rows of `cluster_quality.parquet` with known speakers.
    """

    def plot(axes: Axes) -> None:
        places = range(len(quality))
        axes.plot(places, quality["nmi"], marker="o", markersize=5, color=BLUE, label="NMI")
        axes.plot(places, quality["purity"], marker="s", markersize=5, color=AMBER, label="purity")
        # Short names, as five long ones would not fit side by side; all of two lines, so that they are at one height.
        names = [title(system).replace("DLG-LC ", "").replace(" ", "\n") for system in quality["system"]]
        axes.set_xticks(places, [name if "\n" in name else f"{name}\n" for name in names])
        axes.set(ylim=(0, 1.02), ylabel="agreement with speakers", xlim=(-0.4, len(quality) - 0.6))
        axes.legend(loc="lower right", ncols=2)

    return draw("agreement", "Normalised mutual information and purity of the clusters per system", plot)


def modality_agreement(name: str, measure: str, quality: pd.DataFrame) -> Markup:
    """How well clusters of voices, of faces and of both agree with the speakers: a group of bars per round.

    Args:
        measure: "nmi" or "purity".
        quality: rows of `modality_quality.parquet` with known speakers, and the `system` of each.
    """
    bars = (("audio", "voices", BLUE), ("face", "faces", AMBER), ("joint", "both", GREEN))
    rounds = list(dict.fromkeys(quality["system"]))

    def plot(axes: Axes) -> None:
        for place, (modality, label, colour) in enumerate(bars):
            rows = quality[quality["modality"] == modality]
            centres = rows["system"].map(rounds.index) + 0.27 * (place - 1)
            axes.bar(centres, rows[measure], 0.25, color=colour, label=label)
        axes.set_xticks(range(len(rounds)), [title(system).replace("DLG-LC ", "") for system in rounds])
        axes.set(ylim=(0, 1.02), ylabel=f"{MEASURES[measure]} with speakers", xlim=(-0.6, len(rounds) - 0.4))
        axes.grid(axis="x", visible=False)
        axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))

    return draw(name, f"{MEASURES[measure]} of clusters of voices, of faces and of both per round", plot)


def curves(
    name: str,
    history: pd.DataFrame,
    lines: Sequence[tuple[str, str]],
    unit: str,
    *,
    level: tuple[float, str] | None = None,
    moment: tuple[float, str] | None = None,
    scale: float = 1.0,
) -> Markup:
    """Columns of a training's history over the epochs.

    Args:
        lines: columns and what the legend calls them; columns that are missing or empty are left out.
        unit: the y axis's label.
        level: a y value to mark with a dashed line, and its name.
        moment: an epoch to mark with a dotted line, and its name.
        scale: factor on the columns.
    """
    shown = [(column, label) for column, label in lines if column in history and history[column].notna().any()]

    def plot(axes: Axes) -> None:
        for (column, label), colour in zip(shown, (BLUE, VERMILLION, GREEN, PURPLE), strict=False):
            marker = "o" if len(history) < 3 else ""
            axes.plot(history["epoch"] + 1, scale * history[column].astype(float), color=colour, label=label, marker=marker, markersize=4)
        if level:
            axes.axhline(level[0], color=MUTED, linestyle="--", linewidth=1.2, label=level[1])
        if moment:
            axes.axvline(moment[0], color=MUTED, linestyle=":", linewidth=1.2, label=moment[1])
        axes.set(xlabel="epoch", ylabel=unit, xlim=_epochs(history))
        axes.set_ylim(bottom=min(0.0, axes.dataLim.y0), top=1.06 * max(axes.dataLim.y1, level[0] if level else 0) or 1.0)
        whole_numbers(axes)
        if len(shown) + bool(level) + bool(moment) > 1:
            axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))

    return draw(name, f"{unit} over the epochs", plot)


def _epochs(rows: pd.DataFrame) -> tuple[float, float]:
    return 0.4, float(rows["epoch"].max()) + 1.6
