"""Stage `metrics`: EER and minDCF of every system on every trial list with their intervals, as files and as a printed table."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path

import pandas as pd

from selfsv.artifacts import read_table, write_table
from selfsv.scoring.conditions import read_speakers_table
from selfsv.scoring.evaluation import Known, comparison_rows, condition_rows, curve_rows, evaluations, metric_rows, read_scored_list
from selfsv.scoring.measures import MEASURES, measures
from selfsv.scoring.systems import order
from selfsv.scoring.table import metric_table
from selfsv.settings.jobs import MetricJob
from selfsv.stage import parser, run

COMPARISON: dict[str, type] = dict.fromkeys(("system_a", "system_b", "trials", "norm", "measure"), str)
COMPARISON |= dict.fromkeys(("difference", "low", "high"), float) | {"shown": bool}
CONDITION = ["system", "iteration", "trials", "norm", "condition", "value", "targets", "nontargets", *MEASURES]  # where there is none


def main() -> None:
    """Read all scores, write and print their error rates."""
    arguments = parser(__doc__, outputs=("output", "comparisons", "det_bands", "conditions"))
    arguments.add_argument("--scores", type=Path, nargs="+", required=True, help="files {system}/scores/{trials}.parquet")
    arguments.add_argument("--manifests", type=Path, nargs="*", default=[], help="of the trials' corpora: data/{corpus}/manifest.parquet")
    arguments.add_argument("--speakers", type=Path, nargs="*", default=[], help="likewise: data/{corpus}/speakers.parquet")
    arguments.add_argument("--threads", type=int, default=0, help="0: all cores")
    args = arguments.parse_args()
    job = MetricJob.read(args.settings)
    statistic = measures(job.p_target, job.c_miss, job.c_false_alarm)

    metrics, comparisons, bands, conditions = [], [], [], []
    for trials, paths in by_list(args.scores):
        known = known_about(job.corpora.get(trials, ""), args.manifests, args.speakers, job.speakers_tables)
        scored = read_scored_list(paths, known)
        found = evaluations(scored, statistic, threads=args.threads)
        metrics += metric_rows(scored, found, job)
        comparisons += comparison_rows(scored, found)
        bands += curve_rows(scored, found)
        conditions += condition_rows(scored, statistic, threads=args.threads)
    table = pd.DataFrame(metrics).astype({"iteration": "Int64"})
    write_table(args.output, table)
    write_table(args.comparisons, pd.DataFrame(comparisons, columns=list(COMPARISON)).astype(COMPARISON))
    write_table(args.det_bands, pd.DataFrame(bands, columns=["system", "trials", "norm", "false_alarm", "miss_low", "miss_high"]))
    write_table(args.conditions, pd.DataFrame(conditions, columns=None if conditions else CONDITION).astype({"iteration": "Int64"}))
    print(metric_table(table, job.p_target))


def by_list(paths: Iterable[Path]) -> list[tuple[str, list[Path]]]:
    """Score files by trial list: lists in the order given, systems in that of a person's interest."""
    names = list(dict.fromkeys(path.stem for path in paths))
    ordered = sorted(paths, key=lambda path: (names.index(path.stem), order(path.parts[-3])))
    return [(name, list(files)) for name, files in groupby(ordered, key=lambda path: path.stem)]


def known_about(corpus: str, manifests: Iterable[Path], speakers: Iterable[Path], tables: Mapping[str, str]) -> Known:
    """What the files of `corpus` say about its utterances; their folders are named after the corpora."""
    manifest = next((path for path in manifests if path.parent.name == corpus), None)
    known = next((path for path in speakers if path.parent.name == corpus), None)
    return Known(
        None if manifest is None else read_table(manifest, ["utterance", "session", "num_samples"]),
        None if known is None else read_table(known, ["utterance", "speaker"]),
        read_speakers_table(Path(tables[corpus])) if corpus in tables else None,
    )


if __name__ == "__main__":
    run(main)
