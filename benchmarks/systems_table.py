"""The systems of `benchmarks/systems.yaml` with intervals: seeds pooled, speakers resampled, and each one's difference from a reference.

    python benchmarks/systems_table.py results/systems --data results/demo/data/test --against ca_dino

Rows and seeds may be missing. Means and 95 % intervals as `selfsv compare` has them.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from selfsv.artifacts import read_table
from selfsv.scoring.intervals import Units
from selfsv.scoring.measures import MEASURES, Evaluation, evaluate, measures
from selfsv.scoring.pooling import Pooled, pooled
from selfsv.scoring.scored_lists import NORMS
from selfsv.scoring.units import units_of
from selfsv.stage import run

P_TARGET = 0.01
EER, MIN_DCF = MEASURES.index("eer"), MEASURES.index("min_dcf_p05")


def main() -> None:
    """Evaluate, pool, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path, help="of the ablation")
    arguments.add_argument("--data", type=Path, required=True, help="data/{corpus} of the trials' corpus")
    arguments.add_argument("--trials", default="demo")
    arguments.add_argument(
        "--against", default="ca_dino", help="the system that others are compared with: at the same iteration, or at NAME/iter_I"
    )
    args = arguments.parse_args()
    speakers = read_table(args.data / "speakers.parquet", ["utterance", "speaker"])
    manifest = read_table(args.data / "manifest.parquet", ["utterance", "session"])
    found: dict[tuple[str, int], dict[str, Pooled]] = {}
    for number, row in enumerate(sorted((args.folder / "systems").glob("*/iter_*"))):
        paths = sorted(row.glob(f"seed_*/scores/{args.trials}.parquet"))
        if paths:
            key = row.parent.name, int(row.name.removeprefix("iter_"))
            found[key] = {norm: pooled([evaluated(path, norm, speakers, manifest) for path in paths], number) for norm in NORMS}
    for iteration in sorted({iteration for _, iteration in found}):
        name, _, fixed = args.against.partition("/iter_")
        reference = found.get((name, int(fixed or iteration)))
        print(
            markdown(
                {name: by_norm for (name, number), by_norm in found.items() if number == iteration}, args.against, reference, iteration
            )
        )


def evaluated(path: Path, norm: str, speakers: object, manifest: object) -> Evaluation:
    """One seed's scores on the list."""
    scores = read_table(path, ["enroll", "test", "target", norm])
    units: Units = units_of(scores["enroll"], scores["test"], speakers, manifest)  # type: ignore[arg-type]
    return evaluate(scores[norm].to_numpy(), scores["target"].to_numpy(), units, measures(P_TARGET), curve=False)


def markdown(systems: dict[str, dict[str, Pooled]], against: str, reference: dict[str, Pooled] | None, iteration: int) -> str:
    """A line per system, the best by the mean of both EERs first."""
    order = sorted(systems, key=lambda name: np.mean([systems[name][norm].figures[EER] for norm in NORMS]))
    heads = ["EER, cosine", "EER, s-norm", "minDCF (0.05), cosine", "s-norm", f"EER less {against}'s, cosine", "s-norm"]
    lines = [f"\niteration {iteration}\n", f"| system | seeds | {' | '.join(heads)} |", "|---|" + "---|" * 7]
    for name in order:
        of = systems[name]
        cells = [str(of["cosine"].runs), *(figure(of[norm], EER, 100) for norm in NORMS), *(figure(of[norm], MIN_DCF, 1) for norm in NORMS)]
        cells += [difference(of[norm], reference[norm]) if reference and reference is not of else "" for norm in NORMS]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def figure(of: Pooled, column: int, scale: float) -> str:
    """Mean over the seeds, and its interval."""
    low, high = of.interval(column)
    digits = 2 if scale > 1 else 3
    return f"{scale * of.figures[column]:.{digits}f} [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"


def difference(of: Pooled, reference: Pooled) -> str:
    """In percentage points; bold where the interval leaves 0 out."""
    value, (low, high) = of.difference(reference, EER)
    text = f"{100 * value:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


if __name__ == "__main__":
    run(main)
