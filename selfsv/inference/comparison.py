"""Experiments side by side: which are runs of one configuration, how good each configuration is, and which differences are shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from selfsv.artifacts import read_table
from selfsv.data.piece_speakers import with_pieces
from selfsv.errors import InputError, SettingsError
from selfsv.scoring.evaluation import difference_rows, measured_with_ends
from selfsv.scoring.intervals import Units
from selfsv.scoring.measures import MEASURES, evaluate, measures
from selfsv.scoring.pooling import Pooled, pooled
from selfsv.scoring.scored_lists import TRIAL_COLUMNS, check_same_trials
from selfsv.scoring.systems import systems, title
from selfsv.scoring.table import NORM_TITLES, aligned, caveat, measure_titles, resampling, with_interval
from selfsv.scoring.units import units_of
from selfsv.settings.experiment import Experiment
from selfsv.settings.stage_one import stage_one_title

OF_A_RUN = {"experiment", "seed", "runtime"}  # what may differ between the runs of one configuration
SETTINGS = "settings.json"
DIFFERENCES = [
    *("system_a", "system_b", "trials", "norm", "measure", "difference", "low", "high", "shown"),
    *("runs_a", "runs_b"),
]


class Run(NamedTuple):
    """One system of one experiment."""

    folder: Path
    system: str
    settings: Experiment

    def scores(self, trials: str) -> Path:
        """The file of its scores on a list."""
        return self.folder / self.system / "scores" / f"{trials}.parquet"


@dataclass(frozen=True)
class Comparison:
    """Configurations A, B, … on trial lists."""

    names: dict[str, str]  # of the configurations: letter to what it is
    heads: dict[str, str]  # of the lists: their sizes and what was resampled
    figures: pd.DataFrame  # configuration, trials, norm, runs, and each measure with its low and high end
    differences: pd.DataFrame  # as comparisons.parquet, with runs_a and runs_b
    p_target: float  # of `min_dcf`

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        tables = {"figures": self.figures, "differences": self.differences}
        plain = {name: table.astype(object).where(table.notna(), None).to_dict("records") for name, table in tables.items()}
        return {"configurations": self.names, "lists": self.heads, **plain}

    def as_text(self) -> str:
        """A legend, and two tables per trial list."""
        blocks = ["\n".join(f"{letter}  {name}" for letter, name in self.names.items())]
        for trials, head in self.heads.items():
            figures = self.figures[self.figures["trials"] == trials]
            blocks.append(f"{trials}: {head}\n{aligned(figure_cells(figures, self.p_target))}")
            differences = self.differences[(self.differences["trials"] == trials) & (self.differences["measure"] == "eer")]
            if len(differences):
                blocks.append(f"difference of EER, percentage points\n{aligned(difference_cells(differences))}")
        return "\n\n".join(blocks)


def read_experiments(folders: Sequence[Path], system: str | None) -> list[Run]:
    """The runs to compare: `system`, or the last round, of each experiment.

    Raises:
        InputError: a folder holds no experiment that was scored, is named twice, or has no such system.
    """
    if repeated := {folder for folder in folders if sum(folder.resolve() == other.resolve() for other in folders) > 1}:
        raise InputError(f"{min(repeated)} is named twice: name each experiment once")
    runs = []
    for folder in folders:
        if not (folder / SETTINGS).is_file():
            raise InputError(
                f"{folder} holds no {SETTINGS}: name the folder of an experiment, results/NAME, that the workflow has finished"
            )
        try:
            settings = Experiment.read(str(folder / SETTINGS))
        except SettingsError as error:
            raise InputError(f"{folder / SETTINGS} holds no settings of an experiment: {error}") from None
        name = system or systems(settings.rounds, baselines=False)[-1]
        if not any(Run(folder, name, settings).scores(trials).is_file() for trials in settings.trials):
            scored = sorted({path.parts[-3] for path in folder.glob("*/scores/*.parquet")})
            raise InputError(f"{folder} has no scores of {name} (there are scores of {', '.join(scored) or 'no system'})")
        runs.append(Run(folder, name, settings))
    return runs


def compare(runs: Sequence[Run], trials: str | None, norms: Sequence[str], p_target: float) -> Comparison:
    """Pool the runs of each configuration, and compare the configurations.

    Raises:
        InputError: the runs share no trial list, or one of them has other trials under its name.
    """
    groups = configurations(runs)
    figures, differences, heads = [], [], {}
    for name in shared_lists(runs, trials):
        first, units = read_trials_of(runs[0], name)
        counts = f"{int(first['target'].sum()):,} target and {int((~first['target']).sum()):,} non-target trials"
        said = f"{counts}; in brackets 95 % intervals, resampling {resampling(units.kind, units.count)}"
        heads[name] = "\n".join(filter(None, [said, caveat(units.kind, units.count)]))
        tables = {run.folder: read_scores(run, name, first, runs[0]) for run in runs}
        for norm in norms:
            target, statistic = first["target"].to_numpy(), measures(p_target)
            found = {
                letter: pooled([evaluate(tables[run.folder][norm].to_numpy(), target, units, statistic) for run in group], number)
                for number, (letter, group) in enumerate(groups.items())
            }
            figures += figure_rows(found, name, norm)
            differences += rows_with_runs(found, name, norm)
    names = {letter: described(group) for letter, group in groups.items()}
    return Comparison(names, heads, pd.DataFrame(figures), pd.DataFrame(differences, columns=DIFFERENCES), p_target)


def configurations(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs whose settings and system are alike, by letters in the order of the first of each."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        key = run.system + run.settings.model_dump_json(exclude=OF_A_RUN)
        groups.setdefault(key, []).append(run)
    return {letters(number): group for number, group in enumerate(groups.values())}


def letters(number: int) -> str:
    """A, B, …, Z, A1, B1, …"""
    return chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")


def described(group: Sequence[Run]) -> str:
    """The experiments of one configuration, its system, and its seeds."""
    names = ", ".join(run.settings.experiment for run in group)
    seeds = ", ".join(str(run.settings.seed) for run in group)
    return f"{names}: {title(group[0].system, stage_one_title(group[0].settings))}, seed{'s' if len(group) > 1 else ''} {seeds}"


def shared_lists(runs: Sequence[Run], trials: str | None) -> list[str]:
    """The trial lists on which all runs were scored, or `trials` alone."""
    wanted = [trials] if trials else list(runs[0].settings.trials)
    found = [name for name in wanted if all(run.scores(name).is_file() for run in runs)]
    if not found:
        scored = [f"{run.folder}: {', '.join(sorted(path.stem for path in run.scores('x').parent.glob('*.parquet')))}" for run in runs]
        which = f"the trial list '{trials}'" if trials else "one trial list"
        raise InputError(f"not all of these were scored on {which} ({'; '.join(scored)})")
    return found


def read_scores(run: Run, trials: str, first: pd.DataFrame, reference: Run) -> pd.DataFrame:
    """A run's scores on one list, which must hold the trials `first` of the run `reference`."""
    table = read_table(run.scores(trials), [*TRIAL_COLUMNS, *NORM_TITLES])
    check_same_trials(first, table, reference.scores(trials), run.scores(trials))
    return table


def read_trials_of(run: Run, trials: str) -> tuple[pd.DataFrame, Units]:
    """The trials of one list, and what is resampled on it, as far as the experiment's folder knows."""
    first = read_table(run.scores(trials), TRIAL_COLUMNS)
    corpus = run.folder / "data" / run.settings.trials[trials].corpus
    speakers, manifest = corpus / "speakers.parquet", corpus / "manifest.parquet"
    known = read_table(speakers, ["utterance", "speaker"]) if speakers.exists() else None
    sessions = read_table(manifest, ["utterance", "session"]) if manifest.exists() else None
    if known is not None and sessions is not None:
        known = with_pieces(known, sessions["utterance"])
    return first, units_of(first["enroll"], first["test"], known, sessions)


# Tables ---------------------------------------------------------------------------------------------------------------


def figure_rows(found: Mapping[str, Pooled], trials: str, norm: str) -> list[dict[str, Any]]:
    """A row per configuration."""
    rows = []
    for letter, configuration in found.items():
        row = {"configuration": letter, "trials": trials, "norm": norm, "runs": configuration.runs}
        rows.append(row | measured_with_ends(configuration))
    return rows


def rows_with_runs(found: Mapping[str, Pooled], trials: str, norm: str) -> list[dict[str, Any]]:
    """As in comparisons.parquet, a row per pair of configurations and measure; and how many runs each has."""
    return [
        {**row, "runs_a": found[row["system_a"]].runs, "runs_b": found[row["system_b"]].runs}
        for row in difference_rows(found, trials, norm)
    ]


def figure_cells(figures: pd.DataFrame, p_target: float) -> list[list[str]]:
    """A line per configuration and norm."""
    cells = [["", "runs", "", *measure_titles(p_target).values()]]
    for letter, rows in figures.groupby("configuration", sort=False):
        for place, (_, row) in enumerate(rows.iterrows()):
            names = ["", ""] if place else [str(letter), str(row["runs"])]
            cells.append([*names, NORM_TITLES[row["norm"]], *(with_interval(row, measure) for measure in MEASURES)])
    return cells


def difference_cells(differences: pd.DataFrame) -> list[list[str]]:
    """A line per pair and norm, with what it shows."""
    cells = [["", "", "", ""]]
    for _, row in differences.iterrows():
        points, low, high = (f"{100 * row[name]:+.2f}" for name in ("difference", "low", "high"))
        better = row["system_a"] if row["difference"] < 0 else row["system_b"]
        verdict = f"{better} is better" if row["shown"] else "not shown"
        bracket = f" [{low}, {high}]" if pd.notna(row["low"]) else ""
        cells.append([f"{row['system_a']} - {row['system_b']}", NORM_TITLES[row["norm"]], f"{points}{bracket}", verdict])
    return cells
