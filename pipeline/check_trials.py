"""Rule `check_trials`: right after the listing of its corpus, whether a trial list can be scored.

Where recordings of the corpus are cut, only its manifest knows the names of the utterances: it is read instead.

python -m pipeline.check_trials --name mine --trials trials.txt --listing data/test/listing.parquet --output checks/trials-mine.json
"""

import json

from selfsv.artifacts import read_table, write_text
from selfsv.cut_names import recording_of
from selfsv.errors import InputError
from selfsv.scoring.trials import Trials, locate, read_trials, utterance_of
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
        cut = cut_recording(trials, known)
        if cut:
            raise InputError(
                f"trials.{args.name} names '{cut[0]}', which was cut into utterances, such as '{cut[1]}' (`cut` of the corpus in "
                "`corpora`): leave `cut` empty for this corpus, or name utterances of its manifest in the list"
            ) from None
        complete = sum(
            all(side in known or utterance_of(side) in known for side in pair) for pair in zip(trials.enroll, trials.test, strict=True)
        )
        number = f"only {complete}" if complete else "none"
        raise InputError(f"trials.{args.name}: {number} of its {len(trials.line)} trials can be scored. {error}") from None
    write_text(args.output, json.dumps({"trials": len(trials.line), "targets": int(trials.target.sum())}) + "\n")


def cut_recording(trials: Trials, utterances: set[str]) -> tuple[str, str] | None:
    """The first name in a list that is a recording of which `utterances` has only pieces, and one of them; None without one."""
    pieces = {recording_of(name): name for name in sorted(utterances, reverse=True) if recording_of(name) != name}
    sides = (side for pair in zip(trials.enroll, trials.test, strict=True) for side in pair)
    missing = (side for side in sides if side not in utterances and utterance_of(side) not in utterances)
    return next(((side, pieces[name]) for side in missing for name in (side, utterance_of(side)) if name in pieces), None)


if __name__ == "__main__":
    run(main)
