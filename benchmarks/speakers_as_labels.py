"""The speakers of a corpus in the place of pseudo labels: the ceiling of a round, for comparison alone.

python benchmarks/speakers_as_labels.py speakers.parquet --manifest manifest.parquet --output labels.parquet
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `selfsv`, also where the project is not installed

from selfsv.artifacts import write_table


def main() -> None:
    """Read both, number the speakers, write."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("speakers", type=Path)
    arguments.add_argument("--manifest", type=Path, required=True, help="its accepted utterances get labels")
    arguments.add_argument("--output", type=Path, required=True)
    args = arguments.parse_args()
    write_table(args.output, labelled(pd.read_parquet(args.speakers), pd.read_parquet(args.manifest)))


def labelled(speakers: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """The accepted utterances in the manifest's order with columns `utterance`, `label` (speakers from 0), `similarity` (1)."""
    accepted = manifest.loc[manifest["status"] == "ok", ["utterance"]]
    known = accepted.merge(speakers, on="utterance", validate="one_to_one")
    if len(known) < len(accepted):
        sys.exit(f"{len(accepted) - len(known)} accepted utterances have no speaker: a round on speakers needs all of them")
    labels = pd.factorize(known["speaker"], sort=True)[0].astype(np.int32)
    return pd.DataFrame({"utterance": known["utterance"], "label": labels, "similarity": np.ones(len(known), np.float32)})


if __name__ == "__main__":
    main()
