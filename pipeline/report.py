"""Stage `report`: one self-contained HTML page about an experiment."""

import logging

from pipeline.artifacts import write_text
from pipeline.command import parser, run
from pipeline.reporting.collect import Results
from pipeline.reporting.page import render
from pipeline.settings.experiment import Experiment


def main() -> None:
    """Read whatever the experiment's folder holds, write the page."""
    args = parser(__doc__, inputs=("results",), outputs=("output",)).parse_args()
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    write_text(args.output, render(Results(args.results, Experiment.read(args.settings))))


if __name__ == "__main__":
    run(main)
