"""Stage `quality`: the clusters of one system, and their agreement with speakers where these are known."""

from pathlib import Path

import pandas as pd

from selfsv.artifacts import read_labels, read_table, write_table
from selfsv.clustering.quality import cluster_sizes, normalised_mutual_information, purity
from selfsv.data.piece_speakers import with_pieces
from selfsv.stage import parser, run


def main() -> None:
    """Read pseudo labels and speakers, write one row."""
    args = parser(__doc__, inputs=("pseudo_labels", "speakers"), outputs=("output",), settings=False).parse_args()
    labels = read_labels(args.pseudo_labels)
    speakers = with_pieces(read_table(args.speakers, ["utterance", "speaker"]), labels["utterance"])
    write_table(args.output, pd.DataFrame([quality(system_of(args.pseudo_labels), labels, speakers)]))


def system_of(pseudo_labels: Path) -> str:
    """The system whose folder holds the file."""
    return pseudo_labels.resolve().parent.name


def quality(system: str, labels: pd.DataFrame, speakers: pd.DataFrame) -> dict[str, object]:
    """One row about the clusters; `nmi` and `purity` are over the utterances of known speaker, and null without any."""
    sizes = cluster_sizes(labels["label"].to_numpy())
    known = labels.merge(speakers, on="utterance", validate="one_to_one")
    # Numbers for names: what follows sorts the speakers of all utterances several times over.
    pair = pd.factorize(known["speaker"], sort=True)[0], known["label"].to_numpy()
    return {
        "system": system,
        "clusters": len(sizes),
        "largest": int(sizes.max()),
        "smallest": int(sizes.min()),
        "empty": int((sizes == 0).sum()),
        "nmi": normalised_mutual_information(*pair) if len(known) else float("nan"),
        "purity": purity(*pair) if len(known) else float("nan"),
        "utterances_with_speaker": len(known),
    }


if __name__ == "__main__":
    run(main)
