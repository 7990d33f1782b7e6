"""Stage `report`: one self-contained HTML page about an experiment."""

import logging

from selfsv.artifacts import write_text
from selfsv.report.collect import Results
from selfsv.report.page import render
from selfsv.settings.experiment import Experiment
from selfsv.stage import parser, run


def main() -> None:
    """Read whatever the experiment's folder holds, write the page."""
    args = parser(__doc__, inputs=("results",), outputs=("output",)).parse_args()
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    write_text(args.output, render(Results(args.results, Experiment.read(args.settings))))


if __name__ == "__main__":
    run(main)
