"""Rule `check_trials`: right after the listing of its corpus, whether a trial list can be scored.

python -m pipeline.check_trials --name mine --trials trials.txt --listing data/test/listing.parquet --output checks/trials-mine.json
"""

import json

from selfsv.artifacts import read_table, write_text
from selfsv.errors import InputError
from selfsv.scoring.trials import locate, read_trials, utterance_of
from selfsv.stage import parser, run


def main() -> None:
    """Read both, look every trial up, write."""
    arguments = parser(__doc__, inputs=("trials", "listing"), outputs=("output",), settings=False)
    arguments.add_argument("--name", required=True, help="of the list, in the configuration")
    args = arguments.parse_args()
    trials = read_trials(args.trials)
    table = read_table(args.listing, ["utterance", "reason"])
    listed = table["reason"] == ""
    names = table.loc[listed, "utterance"].to_numpy(object)
    try:
        locate(trials, names, dict(table.loc[~listed, ["utterance", "reason"]].itertuples(index=False)))
    except InputError as error:
        known = set(names)
        complete = sum(
            all(side in known or utterance_of(side) in known for side in pair) for pair in zip(trials.enroll, trials.test, strict=True)
        )
        number = f"only {complete}" if complete else "none"
        raise InputError(f"trials.{args.name}: {number} of its {len(trials.line)} trials can be scored. {error}") from None
    write_text(args.output, json.dumps({"trials": len(trials.line), "targets": int(trials.target.sum())}) + "\n")


if __name__ == "__main__":
    run(main)
