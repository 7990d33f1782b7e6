"""From how many talkers on do rounds pay? Corpora of 10 talkers to all that there are, and a training on each.

    python benchmarks/talkers.py demo/speech/dev/wav more/wav --sizes 10 20 --into results/talkers
    snakemake --cores 2 --configfile demo/config.yaml results/talkers/corpora.yaml -- data
    snakemake --cores 2 --snakefile benchmarks/ablation.smk --configfile demo/config.yaml results/talkers/{corpora,systems}.yaml

Folders have VoxCeleb's layout. The sizes are random talkers of the first folder, others for each seed; then come that folder as a whole,
both first folders together, and so on. Each system sees the same number of utterances and takes the same number of updates, whatever its
corpus: few talkers are visited more often. The largest corpus is also visited as often as the first folder (`-longer`). A round learns the
clusters of stage I; beside it is one that learns the speakers themselves. After `-longer` there are also rounds of three times the epochs,
and one that goes on from stage I's weights with its loss beside (`-keep`).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `selfsv`, also where the project is not installed

from selfsv.prepare.listing import enumerate_corpus
from selfsv.settings.data import Corpus
from selfsv.settings.experiment import merged

EPOCHS = 12  # the demo's
VISITS = 14_700  # utterances that each training takes: the demo's epochs of 1,225
CLUSTERS_PER_TALKER = 1.6  # 60 for the demo's 38, about as the paper's 7,500 for 5,994
STAGE_ONE: dict[str, Any] = {"overlay": "systems/sdpn.yaml"}


def main() -> None:
    """Write a listing of each corpus, and the overlays."""
    args = arguments()
    args.into.mkdir(parents=True, exist_ok=True)
    corpora = {name: write_listing(args.into / f"{name}.csv", table) for name, table in drawn(args.folders, args.sizes, args.seeds)}
    utterances = {name: len(pd.read_csv(path)) for name, path in corpora.items()}
    talkers = {name: pd.read_csv(path)["speaker"].nunique() for name, path in corpora.items()}
    kinds = list(dict.fromkeys(kind_of(name) for name in corpora))
    systems: dict[str, Any] = {}
    for kind in kinds:
        names = [name for name in corpora if kind_of(name) == kind]
        epochs = max(3, round(VISITS / np.mean([utterances[n] for n in names])))
        systems |= rows(kind, kind, epochs, per_seed=len(names) > 1, talkers=talkers[names[0]])
    systems |= rows(f"{kind}-longer", kind, EPOCHS, per_seed=False, talkers=talkers[kind])
    systems |= long_rounds(f"{kind}-longer", kind, talkers[kind])
    listings = {name: {"layout": "listing", "path": str(path)} for name, path in corpora.items()}
    compared = {"seeds": args.seeds, "data": "results/talkers/data", "systems": systems}
    overlays = {"corpora": {"experiment": "talkers", "corpora": listings}, "systems": {"rounds": 1, "ablation": compared}}
    for name, values in overlays.items():
        (args.into / f"{name}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    print(pd.DataFrame({"talkers": talkers, "utterances": utterances}))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 20], help="talkers of the first folder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--into", type=Path, required=True)
    return parser.parse_args()


def drawn(folders: Sequence[Path], sizes: Sequence[int], seeds: Sequence[int]) -> list[tuple[str, pd.DataFrame]]:
    """Name and utterances of each corpus; those of random talkers are named `t{size}_seed_{seed}`."""
    tables = [of_folder(folder) for folder in folders]
    names = sorted(tables[0]["speaker"].unique())
    corpora = []
    for size in sizes:
        if size >= len(names):
            sys.exit(f"{folders[0]} has {len(names)} talkers: a size must be less than that, not {size}")
        for seed in seeds:
            chosen = np.random.default_rng([seed, size]).choice(names, size, replace=False)
            corpora.append((f"t{size}_seed_{seed}", tables[0][tables[0]["speaker"].isin(chosen)]))
    for number in range(1, len(tables) + 1):
        together = pd.concat(tables[:number])
        corpora.append((f"t{together['speaker'].nunique()}", together))
    return corpora


def of_folder(folder: Path) -> pd.DataFrame:
    """Columns `path` (absolute), `utterance`, `session`, `speaker`."""
    files = enumerate_corpus(Corpus(layout="voxceleb", path=str(folder.resolve())))
    return files.utterances.merge(files.speakers, on="utterance")[["path", "utterance", "session", "speaker"]]


def write_listing(path: Path, table: pd.DataFrame) -> Path:
    """The listing of a corpus."""
    table.to_csv(path, index=False)
    return path


def kind_of(name: str) -> str:
    """The corpus of a seed without its seed."""
    return name.partition("_seed_")[0]


def rows(name: str, kind: str, epochs: int, *, per_seed: bool, talkers: int) -> dict[str, Any]:
    """Stage I and a round on its clusters, and a round on the speakers: the demo's schedules, stretched to that many epochs."""
    common = common_part(f"{kind}_{{seed}}" if per_seed else kind, epochs, talkers)
    pretrain = {"epochs": epochs, "average_last": part(3, epochs), "optimiser": {"learning_rate": 0.3, "warmup_epochs": part(1, epochs)}}
    return {
        name: {**STAGE_ONE, **common, "pretrain": pretrain},
        f"{name}-speakers": on_speakers(name, common),
    }


def long_rounds(name: str, kind: str, talkers: int) -> dict[str, Any]:
    """Rounds after the stage I `name` of three times the epochs, and one that goes on from its weights, its loss beside."""
    long, short = (common_part(kind, epochs, talkers) for epochs in (3 * EPOCHS, EPOCHS))
    going_on = {
        "start": "previous",
        "objective_weight": 1.0,
        "gate": {"gate_start_epoch": 9},
        "optimiser": {"learning_rate": 0.05, "final_learning_rate": 0.002},
    }
    return {
        f"{name}-round{3 * EPOCHS}": {"stage_one": name, **long},
        f"{name}-speakers{3 * EPOCHS}": on_speakers(name, long),
        f"{name}-keep": {"stage_one": name, **STAGE_ONE, **merged(short, {"train": going_on})},
    }


def common_part(corpus: str, epochs: int, talkers: int) -> dict[str, Any]:
    """Return the settings that stage I and the rounds of a corpus share, with the schedule of a round."""
    gate = min(part(10, epochs), epochs - 1)
    full = min(part(8, epochs), gate - 1)
    return {
        "train_corpus": corpus,
        "cluster": {"clusters": round(CLUSTERS_PER_TALKER * talkers)},
        "train": {
            "epochs": epochs,
            "aam": {"margin_start_epoch": min(part(3, epochs), full - 1), "margin_full_epoch": full},
            "gate": {"gate_start_epoch": gate},
        },
    }


def on_speakers(stage_one: str, common: dict[str, Any]) -> dict[str, Any]:
    """A round on the speakers. All labels are right: a gate would only lose the hard ones."""
    return {"stage_one": stage_one, "labels": "speakers", **merged(common, {"train": {"gate": {"mode": "none"}}})}


def part(of_twelve: int, epochs: int) -> int:
    """An epoch of the demo's twelve, among so many."""
    return max(1, round(epochs * of_twelve / EPOCHS))


if __name__ == "__main__":
    main()
