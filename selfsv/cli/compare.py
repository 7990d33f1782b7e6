"""compare experiments on the same trials, and pool several seeds of one configuration

    selfsv compare results/a results/b
    selfsv compare results/a-1 results/a-2 results/a-3 results/b --system iter_2 --output comparison.parquet

Experiments whose settings are alike but for `experiment`, `seed` and `runtime` are runs of one configuration: they become one figure,
the mean of the runs. Intervals of 95 % resample the talkers of the trial list (or its sessions, or its recordings, where talkers are
not known); where a configuration has several runs, the chance in its seeds is added. With one run each, a difference says that these
two models differ, not that another seed would differ alike.

A difference is shown where its interval leaves 0 out. Trial lists have to hold the same trials in all experiments.
"""

import argparse
import json
from pathlib import Path

from selfsv.artifacts import write_table
from selfsv.cli.options import add_json
from selfsv.cli.outputs import PARQUET, format_of
from selfsv.cli.status import DONE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("folders", type=Path, nargs="+", metavar="EXPERIMENT", help="folders of experiments that were scored")
    parser.add_argument("--system", metavar="NAME", help="e.g. iter_0 (stage I) or large_margin (default: the last round of each)")
    parser.add_argument("--trials", metavar="NAME", help="the trial list (default: all that the experiments share)")
    parser.add_argument("--norm", choices=["cosine", "snorm", "both"], default="both")
    parser.add_argument("--p-target", type=float, default=0.01, metavar="P", help="prior of a target trial for minDCF (default: 0.01)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the differences: a .parquet file")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Read, pool, compare, tell."""
    from selfsv.inference import comparison  # scikit-learn takes a second to load

    if args.output is not None:
        format_of(args.output, PARQUET)
    norms = ("cosine", "snorm") if args.norm == "both" else (args.norm,)
    experiments = comparison.read_experiments(args.folders, args.system)
    found = comparison.compare(experiments, args.trials, norms, args.p_target)
    if args.output is not None:
        write_table(args.output, found.differences)
    print(json.dumps(found.as_json()) if args.json else found.as_text())
    return DONE
