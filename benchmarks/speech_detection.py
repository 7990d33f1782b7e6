"""Measure the detector of `--vad`: its share of speech in the demo's voices, music and noise, and its time on one thread.

    python benchmarks/speech_detection.py

Prints JSON, a row for each folder: minutes; the share that is speech, and with the margins that the program keeps; the recordings
without any speech; seconds of processor time per hour of audio, without decoding.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the project is not installed

from selfsv.prepare.decoding import RATE, load_utterance
from selfsv.prepare.speech_detection import SpeechDetector, with_margins

DEMO = Path(__file__).resolve().parents[1] / "demo"
FOLDERS = ("speech/dev", "speech/test", "noise/musan/music", "noise/musan/noise", "noise/musan/speech")


def main() -> None:
    """Measure each folder, print one object."""
    detector = SpeechDetector()
    files = {folder: sorted((DEMO / folder).rglob("*.opus")) for folder in FOLDERS}
    print(json.dumps({folder: measured(detector, paths) for folder, paths in files.items()}, indent=1))


def measured(detector: SpeechDetector, paths: Sequence[Path]) -> dict[str, float]:
    """The figures of some recordings."""
    samples = speech = kept = without = 0
    seconds = 0.0
    for path in paths:
        recording = load_utterance(str(path), min_seconds=0.0, min_peak=0.0)
        start = time.process_time()
        stretches = detector.stretches(recording)
        seconds += time.process_time() - start
        samples += len(recording)
        speech += _length(stretches)
        kept += _length(with_margins(stretches, len(recording)))
        without += not stretches
    return {
        "recordings": len(paths),
        "minutes": round(samples / RATE / 60, 1),
        "speech": round(speech / samples, 3),
        "kept": round(kept / samples, 3),
        "without_speech": without,
        "seconds_per_hour": round(3600 * seconds * RATE / samples, 1),
    }


def _length(stretches: list[tuple[int, int]]) -> int:
    return sum(end - start for start, end in stretches)


if __name__ == "__main__":
    main()
