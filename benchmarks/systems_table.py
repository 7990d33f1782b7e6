"""The systems of `benchmarks/systems.yaml` with intervals: seeds pooled, speakers resampled, and each one's difference from a reference.

    python benchmarks/systems_table.py results/systems --data results/demo/data/test --against ca_dino
    python benchmarks/systems_table.py results/talkers --data results/talkers/data/test --against own

Rows and seeds may be missing. Means and 95 % intervals as `selfsv compare` has them; `own` compares each round with the stage I that it
follows, run by run.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from selfsv.artifacts import read_table
from selfsv.scoring.intervals import Units
from selfsv.scoring.measures import MEASURES, Evaluation, evaluate, measures
from selfsv.scoring.pooling import Pooled, paired_difference, pooled
from selfsv.scoring.scored_lists import NORMS
from selfsv.scoring.units import units_of
from selfsv.stage import run

P_TARGET = 0.01
OWN = "own"
EER, MIN_DCF = MEASURES.index("eer"), MEASURES.index("min_dcf_p05")


def main() -> None:
    """Evaluate, pool, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path, help="of the ablation")
    arguments.add_argument("--data", type=Path, required=True, help="data/{corpus} of the trials' corpus")
    arguments.add_argument("--trials", default="demo")
    arguments.add_argument(
        "--against", default="ca_dino", help="the system that others are compared with: at the same iteration, or at NAME/iter_I; or `own`"
    )
    args = arguments.parse_args()
    speakers = read_table(args.data / "speakers.parquet", ["utterance", "speaker"])
    manifest = read_table(args.data / "manifest.parquet", ["utterance", "session"])
    found: dict[tuple[str, int], System] = {}
    for number, row in enumerate(sorted((args.folder / "systems").glob("*/iter_*"))):
        paths = {path.parts[-3]: path for path in sorted(row.glob(f"seed_*/scores/{args.trials}.parquet"))}
        if paths:
            runs = {norm: {seed: evaluated(path, norm, speakers, manifest) for seed, path in paths.items()} for norm in NORMS}
            pool = {norm: pooled(list(of_norm.values()), number) for norm, of_norm in runs.items()}
            found[row.parent.name, int(row.name.removeprefix("iter_"))] = System(runs, pool)
    for iteration in sorted({iteration for _, iteration in found}):
        print(markdown(found, args.against, iteration))


class System(NamedTuple):
    """A system at an iteration: its runs by norm and seed, and what they give together."""

    runs: dict[str, dict[str, Evaluation]]
    pool: dict[str, Pooled]


def evaluated(path: Path, norm: str, speakers: object, manifest: object) -> Evaluation:
    """One seed's scores on the list."""
    scores = read_table(path, ["enroll", "test", "target", norm])
    units: Units = units_of(scores["enroll"], scores["test"], speakers, manifest)  # type: ignore[arg-type]
    return evaluate(scores[norm].to_numpy(), scores["target"].to_numpy(), units, measures(P_TARGET), curve=False)


def markdown(found: dict[tuple[str, int], System], against: str, iteration: int) -> str:
    """A line per system, the best by the mean of both EERs first."""
    systems = {name: system for (name, number), system in found.items() if number == iteration}
    order = sorted(systems, key=lambda name: np.mean([systems[name].pool[norm].figures[EER] for norm in NORMS]))
    title = "its stage I's" if against == OWN else f"{against}'s"
    heads = ["EER, cosine", "EER, s-norm", "minDCF (0.05), cosine", "s-norm", f"EER less {title}, cosine", "s-norm"]
    lines = [f"\niteration {iteration}\n", f"| system | seeds | {' | '.join(heads)} |", "|---|" + "---|" * 7]
    for name in order:
        pool, reference = systems[name].pool, reference_of(found, name, against, iteration)
        cells = [
            str(pool["cosine"].runs),
            *(figure(pool[norm], EER, 100) for norm in NORMS),
            *(figure(pool[norm], MIN_DCF, 1) for norm in NORMS),
        ]
        compared = reference and reference is not systems[name]
        cells += [difference(systems[name], reference, norm, paired=against == OWN) if reference and compared else "" for norm in NORMS]
        lines.append(f"| `{name}` | {' | '.join(cells + [''] * (len(heads) + 1 - len(cells)))} |")
    return "\n".join(lines)


def reference_of(found: Mapping[tuple[str, int], System], name: str, against: str, iteration: int) -> System | None:
    """Find the system to compare with. A round on another system's stage I is named after it: its name, a dash and a word."""
    if against == OWN:
        while (name, 0) not in found and "-" in name:
            name = name.rpartition("-")[0]
        return found.get((name, 0))
    system, _, fixed = against.partition("/iter_")
    return found.get((system, int(fixed or iteration)))


def figure(of: Pooled, column: int, scale: float) -> str:
    """Mean over the seeds, and its interval."""
    low, high = of.interval(column)
    digits = 2 if scale > 1 else 3
    return f"{scale * of.figures[column]:.{digits}f} [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"


def difference(of: System, reference: System, norm: str, *, paired: bool) -> str:
    """In percentage points; bold where the interval leaves 0 out."""
    if paired:
        both = [seed for seed in of.runs[norm] if seed in reference.runs[norm]]
        runs, starts = ([system.runs[norm][seed] for seed in both] for system in (of, reference))
        value, (low, high) = paired_difference(runs, starts, EER)
    else:
        value, (low, high) = of.pool[norm].difference(reference.pool[norm], EER)
    text = f"{100 * value:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


if __name__ == "__main__":
    run(main)
