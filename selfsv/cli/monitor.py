"""score the snapshots of a training that still runs: EER and minDCF by epoch

    selfsv monitor results/mine --trials trials.txt --audio recordings/

Snapshots are the models that trainings write on their way, where runtime.snapshot_epochs asks for them. Those that the file of --output
has are not scored again, so give the same command now and then. Scores are cosines, without a mean or a cohort.

For people to look at: no training reads the figures, and whoever chooses an epoch by them does not learn without labels.
"""

import argparse
import json
from pathlib import Path

import pandas as pd

from selfsv.artifacts import read_table, write_table
from selfsv.cli.options import add_device, add_json
from selfsv.cli.score import cosine_rates, embedded_trials
from selfsv.cli.status import DONE
from selfsv.engine.snapshots import FOLDER, epoch_of
from selfsv.errors import InputError
from selfsv.inference.loading import load
from selfsv.scoring.trials import read_trials

OUTPUT = "monitor.parquet"
COLUMNS = ["system", "epoch", "trials", "fingerprint", "eer", "min_dcf"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("experiment", type=Path, metavar="DIR", help="an experiment's folder, results/mine")
    parser.add_argument("--trials", type=Path, required=True, metavar="FILE", help="lines of `1 enrolment test`")
    parser.add_argument("--audio", type=Path, required=True, metavar="DIR", help="the folder that the trials' names are below")
    parser.add_argument("--output", type=Path, metavar="FILE", help=f"the figures so far (default: DIR/{OUTPUT})")
    parser.add_argument("--p-target", type=float, default=0.01, metavar="P", help="prior of a target trial for minDCF (default: 0.01)")
    add_device(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Score the snapshots that have not been scored, and show all."""
    snapshots = sorted(args.experiment.glob(f"*/{FOLDER}/epoch-*.pt"))
    if not snapshots:
        raise InputError(f"{args.experiment} has no snapshots (yet): set runtime.snapshot_epochs, which reruns nothing")
    output = args.output or args.experiment / OUTPUT
    known = read_table(output, COLUMNS) if output.exists() else pd.DataFrame(columns=COLUMNS)
    trials, name = read_trials(args.trials), str(args.trials)
    for path in snapshots:
        model = load(path, args.device)
        place = {"system": path.parents[1].name, "epoch": epoch_of(path), "trials": name}
        same = (known[list(place)] == list(place.values())).all(axis=1)
        if model.fingerprint in list(known["fingerprint"][same]):
            continue
        rates = cosine_rates(model, trials, *embedded_trials(model, trials, args.audio, args.threads), args.p_target)
        row = {**place, "fingerprint": model.fingerprint, **rates}
        known = pd.DataFrame([*known[~same].to_dict("records"), row], columns=COLUMNS)
        write_table(output, known)
    shown = known[known["trials"] == name].sort_values(["system", "epoch"])
    print(json.dumps(shown.to_dict("records")) if args.json else _text(shown))
    return DONE


def _text(table: pd.DataFrame) -> str:
    columns = (table[name] for name in ("system", "epoch", "eer", "min_dcf"))
    rows = (f"{system:24} {epoch:5} {100 * eer:8.2f} {min_dcf:8.3f}" for system, epoch, eer, min_dcf in zip(*columns, strict=True))
    return "\n".join([f"{'system':24} {'epoch':>5} {'EER, %':>8} {'minDCF':>8}", *rows])
