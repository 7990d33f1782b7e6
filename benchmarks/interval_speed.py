"""Measure time and memory of the intervals of one list of Vox1-E's size, with made-up scores.

    python benchmarks/interval_speed.py --threads 2

2 cores of an AMD EPYC (virtual machine, shared), 2026-11-26, numpy 2.4: 1,000 draws over 581,480 trials took 4.8 s alone, 5.6 s
and 50 MiB with other jobs beside it (load 4), 31 s at a load of 11, and 5.4 to 9.0 s of processor time.

Prints a line of a Markdown table. The scores are those of a Gaussian model; their values do not matter to the time.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `selfsv`, also where the project is not installed

from selfsv.scoring.error_rates import operating_points
from selfsv.scoring.intervals import DRAWS, Units, bootstrap, interval
from selfsv.scoring.measures import measures

SPEAKERS, TRIALS, TARGETS = 1251, 581_480, 290_743  # VoxCeleb1-E as published


def main() -> None:
    """Make a list, time it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--speakers", type=int, default=SPEAKERS)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    scores, target, units = scored_list(args.trials, args.speakers)
    before = peak()
    started, worked = time.perf_counter(), time.process_time()
    values = bootstrap(scores, target, units, measures(0.01), args.draws, threads=args.threads)
    seconds, processor = time.perf_counter() - started, time.process_time() - worked
    low, high = interval(float(measures(0.01)(*operating_points(scores, target))[0]), values[:, 0], units.count)
    print("| trials | speakers | draws | threads | seconds | of processors | memory on top, MiB | EER, 95 % interval, % |")
    print("|---|---|---|---|---|---|---|---|")
    cells = [
        f"{args.trials:,}",
        f"{args.speakers:,}",
        f"{args.draws:,}",
        str(args.threads),
        f"{seconds:.1f}",
        f"{processor:.1f}",
        f"{peak() - before:.0f}",
    ]
    print(f"| {' | '.join(cells)} | {100 * low:.2f} to {100 * high:.2f} |")


def scored_list(trials: int, speakers: int) -> tuple[np.ndarray, np.ndarray, Units]:
    """Scores [N] float32, targets [N] bool and units of a list with as many targets as non-targets."""
    generator = np.random.default_rng(1)
    target = np.arange(trials) < trials * TARGETS // TRIALS
    enroll = generator.integers(speakers, size=trials)
    test = np.where(target, enroll, (enroll + generator.integers(1, speakers, size=trials)) % speakers)
    voices = generator.normal(scale=0.5, size=speakers)  # some speakers are harder than others
    scores = (3.5 * target + voices[enroll] + voices[test] + generator.normal(size=trials)).astype(np.float32)
    return scores, target, Units("speakers", speakers, enroll, test)


def peak() -> float:
    """The most memory that this process has held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
