"""What other runtimes and fewer bits cost: error rates, decisions and time of one model by PyTorch, ONNX Runtime and sherpa-onnx.

    python benchmarks/runtimes.py results/demo/iter_2 --output runtimes.json

The folder holds `model.pt`, `embeddings/train.parquet` and `pseudo_labels.parquet`, as a round does. Every recording goes through alone,
with one thread. int8 is what `selfsv export --int8` writes. Unmapped: the graph for sherpa-onnx without the map from
its features to the model's.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import sherpa_onnx
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the project is not installed

from selfsv.artifacts import write_text
from selfsv.engine.pieces import pieces_of
from selfsv.inference import sherpa_graph
from selfsv.inference.loading import load
from selfsv.inference.onnx_graph import write_graph
from selfsv.inference.sample import real_waves, spread
from selfsv.inference.speaker_model import Background, SpeakerModel
from selfsv.inference.thresholds import Trials, chosen
from selfsv.prepare.decoding import decode
from selfsv.scoring.cohort import read_cohort
from selfsv.scoring.cosine import cosine_scores, unit_length
from selfsv.scoring.error_rates import equal_error_rate, operating_points
from selfsv.scoring.snorm import cohort_statistics, normalised_scores
from selfsv.scoring.trials import locate, read_trials, utterance_of

TOP = 300
Embed = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    """Embed the list's recordings by every way, score, write."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path, help="a round")
    arguments.add_argument("--trials", type=Path, default=Path("demo/trials.txt"))
    arguments.add_argument("--audio", type=Path, default=Path("demo/speech/test/wav"))
    arguments.add_argument(
        "--fit", type=Path, default=Path("demo/speech/dev/wav"), help="recordings that sherpa-onnx's features are fitted to"
    )
    arguments.add_argument("--output", type=Path, required=True)
    args = arguments.parse_args()
    torch.set_num_threads(1)
    cohort = read_cohort(args.folder / "embeddings" / "train.parquet", args.folder / "pseudo_labels.parquet")
    background = Background(cohort.mean.astype(np.float32), cohort.means)
    model = dataclasses.replace(load(args.folder / "model.pt", "cpu"), subtract_mean=True, background_of=lambda: background)
    trials = read_trials(args.trials)
    names = np.array(sorted({utterance_of(name) for name in (*trials.enroll, *trials.test)}))
    waves = [decode(str(args.audio / f"{name}.opus")) for name in names]
    fit = real_waves(args.folder / "model.pt", spread(sorted(map(str, args.fit.rglob("*.opus"))), 200))
    with tempfile.TemporaryDirectory() as folder:
        ways = all_ways(model, Path(folder), fit)
        found = {way: embedded(embed, waves) for way, embed in ways.items()}
    enroll, test = locate(trials, names)
    rows = table(found, background, enroll, test, trials.target)
    write_text(args.output, json.dumps(rows, indent=2) + "\n")
    print(json.dumps(rows, indent=2))


def all_ways(model: SpeakerModel, folder: Path, fit: list[np.ndarray]) -> dict[str, Embed]:
    """From a waveform to an embedding, less the corpus's mean."""
    mean = model.background.mean
    write_graph(model, folder / "float32.onnx", "x", "none", int8=folder / "int8.onnx")
    ways: dict[str, Embed] = {"PyTorch": lambda wave: model.embed(wave).numpy() - mean}
    ways |= {f"ONNX Runtime, {kind}": of_session(folder / f"{kind}.onnx", mean) for kind in ("float32", "int8")}
    sherpa_graph.write_sherpa_graph(model, folder / "mapped.onnx", {}, fit)
    ways["sherpa-onnx"] = of_sherpa(folder / "mapped.onnx")
    sherpa_graph.energy_map = lambda *_: np.concatenate([np.zeros((80, 80)), np.eye(80), np.zeros((160, 80))]).astype(np.float32)
    sherpa_graph.write_sherpa_graph(model, folder / "unmapped.onnx", {}, fit, least_cosine=0.0)
    return ways | {"sherpa-onnx, unmapped": of_sherpa(folder / "unmapped.onnx")}


def of_session(path: Path, mean: np.ndarray) -> Embed:
    """By the graph from waveform to embedding."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda wave: session.run(None, {"waveform": wave[None]})[0][0] - mean


def of_sherpa(path: Path) -> Embed:
    """By sherpa-onnx."""
    extractor = sherpa_graph.extractor(sherpa_onnx, path)
    return lambda wave: sherpa_graph.sherpa_embedding(extractor, wave)


def embedded(embed: Embed, waves: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """Embeddings [U, D], and seconds of processor time per hour of speech."""
    embed(waves[0])
    assert len(pieces_of(np.array([len(wave) for wave in waves])).start) == len(waves)  # none is cut
    begun = time.process_time()
    rows = np.stack([embed(wave) for wave in waves])
    return rows, (time.process_time() - begun) * 3600 * 16_000 / sum(map(len, waves))


def table(
    found: dict[str, tuple[np.ndarray, float]], background: Background, enroll: np.ndarray, test: np.ndarray, target: np.ndarray
) -> list[dict[str, Any]]:
    """A row per way; cosines and decisions are compared with the first's."""
    rows, reference, threshold = [], None, 0.0
    cohort = unit_length(background.cohort, background.mean)
    for way, (embeddings, seconds) in found.items():
        directions = unit_length(embeddings)
        cosine = cosine_scores(directions, enroll, test)
        snorm = normalised_scores(cosine, enroll, test, *cohort_statistics(directions, cohort, min(TOP, len(cohort))))
        if reference is None:
            reference, threshold = (directions, cosine), chosen(Trials("", cosine, target), "eer").value
        near = (directions * reference[0]).sum(axis=1)
        rows.append(
            {
                "way": way,
                "seconds_per_hour": round(seconds, 2),
                "cosine_mean": round(float(near.mean()), 5),
                "cosine_least": round(float(near.min()), 5),
                "same_decisions": round(float(np.mean((cosine >= threshold) == (reference[1] >= threshold))), 4),
                **{
                    f"eer_{name}": round(equal_error_rate(*operating_points(s, target)), 4)
                    for name, s in (("cosine", cosine), ("snorm", snorm))
                },
            }
        )
    return rows


if __name__ == "__main__":
    main()
