"""The exported graph as a model that needs numpy and onnxruntime alone: embeddings, scores, s-norm, log-likelihood ratios.

    from selfsv.inference.onnx_model import OnnxModel

    model = OnnxModel("my-model/model.onnx")
    first, second = model.embed(samples), model.embed(others)  # [N] float32, 16 kHz, full scale 1
    print(model.compare(first, second), model.llr(first, second, (len(samples) / 16_000, len(others) / 16_000)))

The graph's metadata holds the training corpus's mean, the cohort of the s-norm and the calibration. Importing this loads no PyTorch,
pandas, Arrow, scipy or scikit-learn.
"""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from selfsv.engine.pieces import pieces_of
from selfsv.errors import InputError
from selfsv.inference.comparing import Background, Comparing
from selfsv.scoring.calibration import calibration_of

INPUT, OUTPUT = "waveform", "embedding"
RATE = 16_000
VERSION = "1"  # of the metadata
MEAN, COHORT = "mean", "cohort"
NUMBERS = np.dtype("<f4")  # of mean and cohort, row by row, as base64


class OnnxModel(Comparing):
    """A graph that `selfsv export --onnx` wrote.

    Args:
        path: the `.onnx` file.
        threads: of the CPU; 0: as many as there are cores.

    Raises:
        InputError: onnxruntime is missing, or the file is none of these graphs.
    """

    def __init__(self, path: str | Path, threads: int = 0):
        try:
            import onnxruntime
        except ImportError:
            raise InputError("the package onnxruntime is missing: pip install onnxruntime") from None
        self.name = str(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(self.name, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own have no common base but this
            raise InputError(f"{path} is no ONNX graph that can be read ({str(error).partition(chr(10))[0]})") from None
        self._read(self._session.get_modelmeta().custom_metadata_map)

    def _read(self, facts: Mapping[str, str]) -> None:
        if facts.get("metadata_version") != VERSION:
            raise InputError(f"{self.name} has no metadata of version {VERSION}: export it again with `selfsv export --onnx`")
        try:
            self.fingerprint, self.dimensions = facts["fingerprint"], int(facts["dimensions"])
            self.frame = int(facts["frame"])
            self.subtract_mean, self.cohort_top = facts["subtract_mean"] == "true", int(facts["cohort_top"])
            self.calibration = calibration_of(json.loads(facts["calibration"])) if "calibration" in facts else None
            background = self._background(facts)
        except (KeyError, ValueError) as error:
            raise InputError(f"{self.name} is damaged ({error}): export it again with `selfsv export --onnx`") from None
        self.background_of = None if background is None else lambda: background

    def _background(self, facts: Mapping[str, str]) -> Background | None:
        if MEAN not in facts:
            return None
        mean, cohort = (np.frombuffer(base64.b64decode(facts[name]), NUMBERS).reshape(-1, self.dimensions) for name in (MEAN, COHORT))
        return Background(mean[0], cohort)

    def embed(self, waveform: np.ndarray) -> np.ndarray:
        """The embedding of a waveform: [D] float32, not normalised in length.

        Args:
            waveform: [N] float, 16 kHz, full scale 1. One of more than two minutes is cut into pieces of equal length, none of which is
                longer; the mean of their embeddings is the waveform's.

        Raises:
            InputError: it is no such waveform, is shorter than one frame, or holds NaN.
        """
        wave = np.asarray(waveform)
        if wave.ndim != 1 or wave.dtype.kind != "f":
            raise InputError(f"a waveform is [samples] of floats, not {list(wave.shape)} of {wave.dtype}")
        if len(wave) < self.frame:
            raise InputError(f"a waveform of {len(wave)} samples at {RATE} Hz is too short: it needs {self.frame} at least")
        if not np.isfinite(wave).all():
            raise InputError("the waveform holds NaN or infinite samples")
        _, starts, lengths = pieces_of(np.array([len(wave)]))
        pieces = [wave[None, start : start + length].astype(np.float32) for start, length in zip(starts, lengths, strict=True)]
        return np.mean([self._session.run([OUTPUT], {INPUT: piece})[0][0] for piece in pieces], axis=0)


def metadata_of(model: Comparing, fingerprint: str, frame: int) -> dict[str, str]:
    """What `OnnxModel` reads: the metadata of a model's graph.

    Args:
        frame: samples of the shortest waveform.
    """
    facts: dict[str, Any] = {
        "metadata_version": VERSION,
        "fingerprint": fingerprint,
        "sample_rate": RATE,
        "dimensions": model.dimensions,
        "frame": frame,
        "subtract_mean": "true" if model.subtract_mean else "false",
        "cohort_top": model.cohort_top,
    }
    if model.background_of is not None:
        rows = {MEAN: model.background.mean, COHORT: model.background.cohort}
        facts |= {name: base64.b64encode(np.ascontiguousarray(value, NUMBERS).tobytes()).decode() for name, value in rows.items()}
    if model.calibration is not None:
        facts["calibration"] = json.dumps(model.calibration._asdict())
    return {name: str(value) for name, value in facts.items()}
