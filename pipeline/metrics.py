"""Stage `metrics`: EER and minDCF of every system on every trial list with their intervals, as files and as a table for a person."""

from pathlib import Path

from selfsv.artifacts import write_table, write_text
from selfsv.scoring.evaluation import Tables
from selfsv.scoring.scored_lists import by_list, known_about, read_scored_list
from selfsv.scoring.table import metric_table
from selfsv.settings.jobs import MetricJob
from selfsv.stage import parser, run


def main() -> None:
    """Read all scores, write their error rates and a table for a person."""
    arguments = parser(__doc__, outputs=("output", "comparisons", "conditions", "det_bands"))
    arguments.add_argument("--scores", type=Path, nargs="+", required=True, help="files {system}/scores/{trials}.parquet")
    arguments.add_argument("--manifests", type=Path, nargs="*", default=[], help="of the trials' corpora: data/{corpus}/manifest.parquet")
    arguments.add_argument("--speakers", type=Path, nargs="*", default=[], help="likewise: data/{corpus}/speakers.parquet")
    arguments.add_argument("--table", type=Path, help="a file for the table; without one it is printed")
    arguments.add_argument("--threads", type=int, default=0, help="0: all cores")
    args = arguments.parse_args()
    job = MetricJob.read(args.settings)

    tables = Tables(job, args.threads)
    for trials, paths in by_list(args.scores):
        corpus = job.corpora.get(trials, "")
        tables.add(read_scored_list(paths, known_about(corpus, args.manifests, args.speakers, job.speakers_tables)))
    frames = tables.frames()
    for path, table in zip((args.output, args.comparisons, args.conditions, args.det_bands), frames, strict=True):
        write_table(path, table)
    text = metric_table(frames[0], job.p_target, job.stage_one)
    if args.table:
        write_text(args.table, text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    run(main)
