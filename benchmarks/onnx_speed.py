"""How fast one waveform becomes an embedding, by PyTorch and by the exported ONNX graph, in 8 bits too, on the CPU.

    python benchmarks/onnx_speed.py [--threads 2]

Prints JSON: seconds of processor time per call (the median of many), and how many times faster than real time that is, for the paper's
encoder and the demo's. The weights are random, which costs the same time as trained ones.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import onnxruntime
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the project is not installed

from selfsv.data.features import LogMel
from selfsv.inference.onnx_graph import write_graph
from selfsv.inference.speaker_model import SpeakerModel
from selfsv.models.encoders import untrained
from selfsv.prepare.decoding import RATE
from selfsv.settings.audio import FeatureSettings
from selfsv.settings.encoder import EncoderSettings

ENCODERS = {
    "ECAPA-512": EncoderSettings(embedding_batchnorm=False),
    "the demo's": EncoderSettings(channels=64, mfa_channels=192, bottleneck=32),
}
BATCHES = ((1, 1.0), (1, 3.0), (1, 10.0), (8, 3.0))  # recordings, seconds of each
BUDGET = 6.0  # seconds of repeating each
FEWEST = 5


def main() -> None:
    """Measure both, print one object."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = arguments.parse_args()
    torch.set_num_threads(args.threads)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "threads": args.threads, "date": date.today().isoformat()}
    versions = {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    rows = [row for name, settings in ENCODERS.items() for row in measured(name, settings, args.threads)]
    print(json.dumps({**machine, **versions, "rows": rows}, indent=2))


def measured(name: str, settings: EncoderSettings, threads: int) -> list[dict[str, object]]:
    """A row per batch."""
    features = FeatureSettings()
    model = SpeakerModel(name, untrained(settings, features.mel_bins, 1, 0).eval(), LogMel(features), torch.device("cpu"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "model.onnx", Path(folder) / "int8.onnx"]
        write_graph(model, files[0], name, "none", int8=files[1])
        session, eight_bits = (onnxruntime.InferenceSession(file, options) for file in files)
        megabytes = {f"{way}_megabytes": round(file.stat().st_size / 1e6, 1) for way, file in zip(("onnx", "int8"), files, strict=True)}
    rows: list[dict[str, object]] = []
    for batch, seconds in BATCHES:
        waves = np.random.default_rng(1).normal(0, 0.1, (batch, int(seconds * RATE))).astype(np.float32)
        ways: dict[str, Callable[[], object]] = {
            "torch": lambda waves=waves: model.embed(waves),
            "onnx": lambda waves=waves: session.run(None, {"waveform": waves}),
            "int8": lambda waves=waves: eight_bits.run(None, {"waveform": waves}),
        }
        times = {way: typical(call) for way, call in ways.items()}
        speed = {f"{way}_times_real_time": round(batch * seconds / value) for way, value in times.items()}
        rows.append(
            {
                "encoder": name,
                "batch": batch,
                "seconds": seconds,
                **{way: round(value, 5) for way, value in times.items()},
                **speed,
                **megabytes,
            }
        )
    return rows


def typical(call: Callable[[], object]) -> float:
    """The median of what the call takes, seconds."""
    call()
    times: list[float] = []
    end = time.perf_counter() + BUDGET
    while len(times) < FEWEST or time.perf_counter() < end:
        begun = time.process_time()  # other work on the machine changes it least
        call()
        times.append(time.process_time() - begun)
    return statistics.median(times)


if __name__ == "__main__":
    main()
