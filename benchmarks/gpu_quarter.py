"""Measure on a borrowed GPU, in seven minutes: does everything run, how fast, and are the numbers right.

    benchmarks/gpu_quarter.sh OUT            # one GPU, the paper's sizes
    benchmarks/gpu_quarter.sh OUT --small    # to see on a CPU whether every stage runs

Stages come in order of importance, each in a process of its own and for a bounded time; OUT/gpu_quarter.json holds what all of them have
found so far, with the card, the versions and the date. What one stage compiles is at hand for those after it. Nothing is decoded or
simulated, and the corpus is made up (see `speed_corpus.py`).
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the project is not installed

from benchmarks.bounded import SAVE, Session, Stage, end_with_stages, refuse_without_gpu
from benchmarks.measuring import version_of, versions

HERE = Path(__file__).resolve().parent
SECONDS = 395.0  # of all stages together; the rest of seven minutes goes into starting
SLOWER = 6.0  # a rehearsal's stages may take so many times as long, on a machine that compiles for its CPU and may be busy
CORPUS = ["--utterances", "8000"]
WORKERS = 7  # that read data, where there is room for what they have read
BATCH_BYTES = 2 * 16_000 * 14 * 256  # of CA-DINO: 14 s of crops of 256 utterances
AHEAD = 6  # batches of each worker in shared memory, at most
SMALL = ["--small", "--channels", "16", "--mfa-channels", "24", "--dilations", "2", "--batch-size", "8"]


def main() -> None:
    """Run all stages."""
    args = arguments()
    end_with_stages()
    refuse_without_gpu(available=torch.cuda.is_available(), small=args.small)
    with tempfile.TemporaryDirectory(dir=args.into) as folder:
        session = Session("gpu_quarter", args.out, args.seconds * (SLOWER if args.small else 1), about())
        measure(session, args, Path(folder))
    print(f"{args.out}/gpu_quarter.json holds everything")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a folder for the figures")
    parser.add_argument("--small", action="store_true", help="small sizes, and no GPU needed")
    parser.add_argument("--into", type=Path, help="where 8 GB fit, for the corpus and compiled kernels; default: the system's")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all stages together")
    return parser.parse_args()


def about() -> dict[str, object]:
    """The machine."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        **versions(device),
        "shared_memory_bytes": shared_memory(),
        **{name: version_of(name) for name in ("torchaudio", "torchvision", "numpy")},
    }


def shared_memory() -> int:
    """Bytes that are free for batches of data workers; in a container this may be next to nothing."""
    try:
        return shutil.disk_usage("/dev/shm").free
    except OSError:
        return 0


def measure(session: Session, args: argparse.Namespace, folder: Path) -> None:
    """All stages, the most important ones first."""
    cores = os.cpu_count() or 1
    compiled = "0" if args.small else "1"
    sizes = SMALL if args.small else [*CORPUS, "--workers", str(min(WORKERS, cores - 1, shared_memory() // (AHEAD * BATCH_BYTES)))]

    def speed(name: str, seconds: float, stages: str, *options: str) -> Stage:
        return script(name, seconds, "training_speed.py", "--stages", *stages.split(), *options)

    def script(name: str, seconds: float, file: str, *options: str) -> Stage:
        command = [sys.executable, str(HERE / file), "--into", str(folder), "--save", SAVE, *sizes, *options]
        return Stage(name, seconds * (SLOWER if args.small else 1), command)

    def rate(training: str, seconds: float, budget: int) -> None:
        """Of a training from packed audio to updates; uncompiled where compiled it does not run."""
        options = ["--budget", str(budget), "--compile"]
        if not session.run(speed(training, seconds, training, *options, compiled)):
            session.run(speed(f"{training}_eager", seconds, training, *options, "0"))

    # 1. Does it run at all?
    session.run(speed("two_steps", 60, "two_steps", "--compile", "0", "--threads", str(cores)))
    # 2. CA-DINO: its rate, the share of time that it waits for data, its memory; then where a step's time goes.
    rate("pretrain", 80, 5)
    session.run(speed("profile", 45, "profile", "--compile", compiled))
    # 3. The other trainings and extraction.
    rate("round", 45, 4)
    session.run(speed("extract", 35, "extract", "--compile", compiled, "--budget", "4"))
    rate("audio_visual", 50, 4)
    # 4. Clustering; faiss for the CPU takes the time of a quarter of VoxCeleb2's embeddings, which grows in proportion.
    clusters = ["--embeddings", "5000", "--clusters", "100"] if args.small else ["--embeddings", "270000", "--clusters", "7500"]
    session.run(speed("kmeans", 45, "kmeans", "--threads", str(cores), *clusters))
    session.run(speed("ahc", 75, "ahc", "--threads", str(cores)))
    # 5. Is it right? Small batches, so that 200 steps fit; the compiled kernels are those of the stages before. A rehearsal compares
    # rounding alone.
    fast = "bfloat16" if args.small else "bfloat16 compiled"
    steps = ["--steps", "6"] if args.small else ["--steps", "200", "--batch-size", "64"]
    session.run(script("numerics", 75, "numerics.py", "--fast", fast, "--parts", "losses", *steps))
    # 6. Where the time of the others goes, and what else there is to train.
    session.run(speed("profiles", 60, "profile_round profile_audio_visual profile_extract", "--compile", compiled))
    session.run(speed("systems", 60, "systems", "--compile", "0", "--budget", "3"))


if __name__ == "__main__":
    main()
