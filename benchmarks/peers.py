"""Embeddings by other people's programs beside ours: time, memory, the start, the size of the installation.

    python benchmarks/peers.py --environment selfsv=own/bin/python wespeaker=ws/bin/python … --save peers.json

Each name stands for the interpreter of an environment that holds that package as its own installer leaves it. Every program embeds the
same recordings one by one, from file to embedding, with one thread, in a process of its own. Encoders have random weights, which cost
the same; Resemblyzer's are in its package.
"""

import argparse
import importlib.metadata
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
FRAMEWORK = ("torch", "triton", "nvidia-", "cuda-", "torchaudio", "torchvision")  # what all of them bring along
RATE = 16_000
Embed = Callable[[str], Any]


def main() -> None:
    """Measure each program in its own environment, print and save; or be one of those processes."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--environment", nargs="+", default=[], metavar="NAME=PYTHON")
    arguments.add_argument("--audio", type=Path, default=REPOSITORY / "demo" / "speech" / "test" / "wav")
    arguments.add_argument("--recordings", type=int, default=60)
    arguments.add_argument("--save", type=Path)
    arguments.add_argument("--be", help=argparse.SUPPRESS)
    arguments.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = arguments.parse_args()
    if args.be:
        print(json.dumps(measured(args.be, args.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        seconds = prepare(args.audio, args.recordings, Path(folder))
        found = {"seconds_of_speech": round(seconds, 1), "load": round(os.getloadavg()[0], 1), "programs": {}}
        for name, python in (one.split("=", 1) for one in args.environment):
            for way in WAYS[name]:
                found["programs"][way] = child(python, way, Path(folder), seconds)
                print(way, found["programs"][way], file=sys.stderr, flush=True)
    text = json.dumps(found, indent=2)
    if args.save:
        args.save.write_text(text + "\n")
    print(text)


def prepare(audio: Path, count: int, folder: Path) -> float:
    """Recordings as WAV files, which all programs read, and models of ours; the recordings' length in seconds."""
    sys.path.insert(0, str(REPOSITORY))
    import numpy as np
    import soundfile

    from selfsv.models.encoders import untrained
    from selfsv.models.model_file import save_model
    from selfsv.prepare.decoding import decode
    from selfsv.settings.audio import FeatureSettings
    from selfsv.settings.encoder import EncoderSettings

    paths = sorted(audio.rglob("*.opus"))
    waves = [decode(str(path)) for path in paths[:: max(1, len(paths) // count)][:count]]
    for number, wave in enumerate(waves):
        soundfile.write(folder / f"{number:03d}.wav", np.asarray(wave), RATE, subtype="PCM_16")
    for channels in (512, 1024):
        settings = EncoderSettings(channels=channels)
        weights = untrained(settings, 80, 1, 0).state_dict()
        save_model(folder / f"{channels}.model", settings, FeatureSettings(), weights)
    return sum(map(len, waves)) / RATE


def child(python: str, way: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Run one program in its environment: its seconds per hour of speech, those of its start, its megabytes."""
    command = [python, str(Path(__file__).resolve()), "--be", way, "--folder", str(folder)]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][:300]}
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    return {**figures, "processor_seconds_per_hour": round(3600 * figures.pop("processor_seconds") / seconds, 1)}


def measured(way: str, folder: Path) -> dict[str, Any]:
    """Of this process: the first embedding is part of the start."""
    begun = time.process_time()
    embed = MAKES[way](folder)
    recordings = sorted(map(str, folder.glob("*.wav")))
    embed(recordings[0])
    start = time.process_time() - begun
    begun = time.process_time()
    for recording in recordings:
        embed(recording)
    spent = time.process_time() - begun
    sizes = installed()
    return {
        "processor_seconds": spent,
        "start_processor_seconds": round(start, 2),
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
        "packages": sizes["packages"],
        "installed_megabytes": sizes["megabytes"],
        "installed_megabytes_without_torch": sizes["without_torch"],
    }


def installed() -> dict[str, int]:
    """Packages of this environment, and their size with and without torch and what it brings along."""
    megabytes: dict[str, float] = {}
    for package in importlib.metadata.distributions():
        files = [Path(str(package.locate_file(file))) for file in package.files or ()]
        megabytes[package.metadata["Name"].lower()] = sum(file.stat().st_size for file in files if file.exists()) / 1e6
    own = sum(size for name, size in megabytes.items() if not name.startswith(FRAMEWORK))
    return {"packages": len(megabytes), "megabytes": round(sum(megabytes.values())), "without_torch": round(own)}


# The programs, as their own documentation uses them -----------------------------------------------------------------------


def ours(folder: Path, channels: int) -> Embed:
    """`selfsv`, an ECAPA-TDNN."""
    import torch

    import selfsv

    torch.set_num_threads(1)
    return selfsv.load(folder / f"{channels}.model", "cpu").embed_file


def speechbrain(_: Path) -> Embed:
    """The ECAPA-TDNN of its VoxCeleb recipe, with the features and the normalisation of that recipe."""
    import soundfile
    import torch
    from speechbrain.lobes.features import Fbank
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
    from speechbrain.processing.features import InputNormalization

    torch.set_num_threads(1)
    features, norm = Fbank(n_mels=80), InputNormalization(norm_type="sentence", std_norm=False)
    encoder = ECAPA_TDNN(80, channels=[1024, 1024, 1024, 1024, 3072], lin_neurons=192).eval()

    @torch.inference_mode()
    def embed(path: str) -> Any:
        wave = torch.from_numpy(soundfile.read(path, dtype="float32")[0])[None]
        whole = torch.ones(1)
        return encoder(norm(features(wave), whole), whole)

    return embed


def wespeaker(folder: Path, channels: int) -> Embed:
    """Its program `wespeaker --task embedding`, on a model as its recipes leave them, an ECAPA-TDNN with global context."""
    import torch
    import yaml
    from wespeaker.cli.speaker import Speaker
    from wespeaker.models.speaker_model import get_speaker_model

    torch.set_num_threads(1)
    config = {"model": f"ECAPA_TDNN_GLOB_c{channels}", "model_args": {"feat_dim": 80, "embed_dim": 192, "pooling_func": "ASTP"}}
    place = folder / f"wespeaker-{channels}"
    place.mkdir(exist_ok=True)
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    torch.save(get_speaker_model(config["model"])(**config["model_args"]).state_dict(), place / "avg_model.pt")
    return Speaker(str(place)).extract_embedding


def resemblyzer(_: Path) -> Embed:
    """Its three LSTM layers on partial utterances, after its own voice-activity detector."""
    import torch
    from resemblyzer import VoiceEncoder, preprocess_wav

    torch.set_num_threads(1)
    encoder = VoiceEncoder("cpu", verbose=False)
    return lambda path: encoder.embed_utterance(preprocess_wav(path))


MAKES: dict[str, Callable[[Path], Embed]] = {
    "selfsv, ECAPA-512": lambda folder: ours(folder, 512),
    "selfsv, ECAPA-1024": lambda folder: ours(folder, 1024),
    "WeSpeaker, ECAPA-512": lambda folder: wespeaker(folder, 512),
    "WeSpeaker, ECAPA-1024": lambda folder: wespeaker(folder, 1024),
    "SpeechBrain, ECAPA-1024": speechbrain,
    "Resemblyzer": resemblyzer,
}
WAYS = {
    "selfsv": ["selfsv, ECAPA-512", "selfsv, ECAPA-1024"],
    "wespeaker": ["WeSpeaker, ECAPA-512", "WeSpeaker, ECAPA-1024"],
    "speechbrain": ["SpeechBrain, ECAPA-1024"],
    "resemblyzer": ["Resemblyzer"],
}


if __name__ == "__main__":
    main()
