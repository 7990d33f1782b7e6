"""The cost of each encoder: parameters, multiplications, and processor time per crop of 2 s on one thread.

    python benchmarks/encoder_speed.py [--repeats 3] [--crops 4]

Prints JSON, a row per architecture at its paper's size. Times are the least of a few, of the processor and not of the clock: other work
on the machine counts for little. The weights are random, which costs the same time as trained ones.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the project is not installed

from selfsv.models.encoders import build_encoder, title_of
from selfsv.settings.encoder import EncoderSettings

FRAMES = 200
ENCODERS = {  # settings, mel bands
    "ecapa_tdnn": (EncoderSettings(), 80),
    "resnet34": (EncoderSettings(architecture="resnet34", embedding=256), 80),
    "res2net50": (EncoderSettings(architecture="res2net50", embedding=256), 80),
    "fast_resnet34": (EncoderSettings(architecture="fast_resnet34", embedding=512), 40),
    "campplus": (EncoderSettings(architecture="campplus"), 80),
}


def main() -> None:
    """Measure all, print one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--crops", type=int, default=4, help="per call")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measured(settings, mel_bins, args) for settings, mel_bins in ENCODERS.values()]
    facts = {"machine": platform.machine(), "torch": torch.__version__, "date": date.today().isoformat(), "crops": args.crops}
    print(json.dumps({**facts, "rows": rows}, indent=2))


def measured(settings: EncoderSettings, mel_bins: int, args: argparse.Namespace) -> dict[str, object]:
    """One architecture."""
    encoder = build_encoder(settings, mel_bins)
    features = torch.randn(args.crops, FRAMES, mel_bins)

    def embed() -> None:
        with torch.no_grad():
            encoder(features)

    def train() -> None:
        encoder(features).sum().backward()

    with FlopCounterMode(display=False) as counter:
        embed()
    milliseconds = {work.__name__: round(1000 * least_seconds(work, args.repeats) / args.crops, 1) for work in (embed, train)}
    return {
        "encoder": title_of(encoder),
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "gmac_per_crop": round(counter.get_total_flops() / 2e9 / args.crops, 2),
        "embed_ms": milliseconds["embed"],
        "train_ms": milliseconds["train"],
    }


def least_seconds(work: Callable[[], object], repeats: int) -> float:
    """Of processor time; what runs once before is not measured."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


if __name__ == "__main__":
    main()
